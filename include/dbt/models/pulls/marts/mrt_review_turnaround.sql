-- One row per repository and week in which people opened pull requests: how long those waited. Bots are left out.
with waits as (
  select
    organization,
    repository,
    repository_id,
    created_week as week,
    time_to_first_review,
    time_to_merge,
    row_number() over (
      partition by repository_id, created_week order by time_to_first_review nulls last, number
    ) as review_place,
    count(time_to_first_review) over (partition by repository_id, created_week) as reviewed,
    row_number() over (partition by repository_id, created_week order by time_to_merge nulls last, number) as merge_place,
    count(time_to_merge) over (partition by repository_id, created_week) as merged
  from {{ ref('stg_pull_requests') }}
  where not author_is_bot
)

select
  organization,
  repository,
  week,
  count(*) as pull_requests,
  max(reviewed) as reviewed,
  {{ median_by_place('time_to_first_review', 'review_place', 'reviewed') }} / 3600e0 as median_hours_to_first_review,
  {{ percentile_by_place('time_to_first_review', 'review_place', 'reviewed', 90) }} / 3600e0 as p90_hours_to_first_review,
  max(merged) as merged,
  {{ median_by_place('time_to_merge', 'merge_place', 'merged') }} / 3600e0 as median_hours_to_merge,
  {{ percentile_by_place('time_to_merge', 'merge_place', 'merged', 90) }} / 3600e0 as p90_hours_to_merge,
  current_timestamp as _transformed_at
from waits
group by organization, repository, repository_id, week
