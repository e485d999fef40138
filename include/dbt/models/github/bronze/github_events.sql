-- Events as GitHub sends them, nested parts flattened.
select
  id as event_id,
  type as event_type,
  {{ json_text('actor', 'id') }} as actor_id,
  {{ json_text('actor', 'login') }} as actor_login,
  {{ json_text('repo', 'id') }} as repo_id,
  {{ json_text('repo', 'name') }} as repo_name,
  {{ json_text('org', 'login') }} as org_login,
  {{ json_text('payload', 'action') }} as action,
  {{ json_text('payload', 'ref') }} as ref,
  {{ json_text('payload', 'ref_type') }} as ref_type,
  {{ json_text('payload', 'distinct_size') }} as distinct_commits,
  payload,
  "public" as is_public,
  created_at,
  {{ arrival_rank('id') }} as arrival,
  _phlo_partition_date as partition_date,
  current_timestamp as _transformed_at
from {{ source('raw', 'user_events') }}
