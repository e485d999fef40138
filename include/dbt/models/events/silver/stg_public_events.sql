-- Each public event once, with its day and hour.
select
  event_id,
  event_type,
  created_at,
  {{ day_of('created_at') }} as activity_date,
  {{ hour_of('created_at') }} as hour_of_day,
  actor_id,
  actor_login,
  repo_id,
  repo_name,
  org_login,
  action,
  ingested_at,
  current_timestamp as _transformed_at
from {{ ref('public_events') }}
where arrival = 1
  and event_type is not null
  and created_at is not null
