-- One row per day for dashboards; 7-day sums cover the trailing seven calendar days, this one included.
select
  activity_date,
  total_events,
  push_events,
  pull_request_events,
  review_events,
  issue_events,
  comment_events,
  star_events,
  fork_events,
  total_events - push_events - pull_request_events - review_events - issue_events - comment_events
    - star_events - fork_events as other_events,
  distinct_repos,
  cast(sum(total_events) over (
    order by activity_date range between interval '6' day preceding and current row
  ) as bigint) as total_events_7d,
  cast(sum(total_events) over (order by activity_date) as bigint) as total_events_to_date,
  current_timestamp as _transformed_at
from {{ ref('fct_daily_github_activity') }}
