-- One row per repository, the one with most events first in `event_rank`.
with activity as (
  select
    repo_name,
    count(*) as total_events,
    count(distinct actor_login) as unique_users,
    count(*) filter (where event_type = 'PushEvent') as push_events,
    min(created_at) as first_event_at,
    max(created_at) as last_event_at
  from {{ ref('stg_public_events') }}
  where repo_name is not null
  group by repo_name
)

select
  repo_name,
  total_events,
  unique_users,
  push_events,
  first_event_at,
  last_event_at,
  row_number() over (order by total_events desc, repo_name) as event_rank,
  current_timestamp as _transformed_at
from activity
