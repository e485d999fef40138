-- Public events as they were loaded, without what only their JSON says.
select
  event_id,
  event_type,
  created_at,
  ingested_at,
  actor_id,
  actor_login,
  repo_id,
  repo_name,
  {{ json_text('payload', 'action') }} as action,
  {{ json_text('raw', 'org.login') }} as org_login,
  source_file,
  {{ arrival_rank('event_id') }} as arrival,
  _phlo_partition_date as partition_date,
  current_timestamp as _transformed_at
from {{ source('raw', 'public_events') }}
