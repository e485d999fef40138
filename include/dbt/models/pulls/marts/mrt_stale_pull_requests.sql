-- One row per open pull request without any change for some days (`stale_after_days`) when its repository was last read.
with open_pulls as (
  select
    *,
    date_diff('day', {{ day_of('updated_at') }}, {{ day_of('read_at') }}) as days_without_change,
    date_diff('day', {{ day_of('created_at') }}, {{ day_of('read_at') }}) as days_open
  from {{ ref('stg_pull_requests') }}
  -- of a repository that is no longer listed, nobody knows
  where state = 'open' and is_readable
)

select
  pull_request_key,
  organization,
  repository,
  number,
  title,
  author_login,
  author_is_bot,
  is_draft,
  size_class,
  review_count,
  created_at,
  updated_at,
  cast(days_open as bigint) as days_open,
  cast(days_without_change as bigint) as days_without_change,
  current_timestamp as _transformed_at
from open_pulls
where days_without_change >= {{ var('stale_after_days', 14) }}
