-- One row per repository and week in which something happened to its pull requests.
with happened as (
  select organization, repository, repository_id, created_week as week, 'opened' as what, changed_lines
  from {{ ref('stg_pull_requests') }}
  union all
  select organization, repository, repository_id, merged_week, 'merged', changed_lines
  from {{ ref('stg_pull_requests') }}
  where merged_at is not null
  union all
  select organization, repository, repository_id, closed_week, 'closed', changed_lines
  from {{ ref('stg_pull_requests') }}
  where closed_at is not null and merged_at is null
  union all
  select organization, repository, repository_id, submitted_week, 'reviewed', 0
  from {{ ref('stg_pull_request_reviews') }}
)

select
  organization,
  repository,
  repository_id,
  week,
  count(*) filter (where what = 'opened') as opened,
  count(*) filter (where what = 'merged') as merged,
  count(*) filter (where what = 'closed') as closed_unmerged,
  count(*) filter (where what = 'reviewed') as reviews,
  cast(coalesce(sum(changed_lines) filter (where what = 'merged'), 0) as bigint) as merged_lines,
  count(*) filter (where what = 'merged' and changed_lines is null) as merged_of_unknown_size,
  current_timestamp as _transformed_at
from happened
group by organization, repository, repository_id, week
