-- One row per repository and week: what came in, what went out.
select
  organization,
  repository,
  week,
  opened,
  merged,
  closed_unmerged,
  reviews,
  merged_lines,
  merged_of_unknown_size,
  cast(sum(opened - merged - closed_unmerged) over (
    partition by repository_id order by week
  ) as bigint) as open_at_end,
  current_timestamp as _transformed_at
from {{ ref('fct_pull_request_weeks') }}
