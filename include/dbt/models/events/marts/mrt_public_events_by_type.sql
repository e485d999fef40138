-- One row per type of event.
select
  event_type,
  count(*) as total_events,
  count(distinct actor_id) as distinct_actors,
  count(distinct repo_id) as distinct_repos,
  min(created_at) as first_event_at,
  max(created_at) as last_event_at,
  current_timestamp as _transformed_at
from {{ ref('stg_public_events') }}
group by event_type
