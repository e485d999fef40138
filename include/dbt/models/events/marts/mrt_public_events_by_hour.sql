-- One row per day and hour that has events.
select
  activity_date,
  hour_of_day,
  count(*) as total_events,
  count(distinct actor_id) as distinct_actors,
  count(distinct repo_id) as distinct_repos,
  current_timestamp as _transformed_at
from {{ ref('stg_public_events') }}
group by activity_date, hour_of_day
