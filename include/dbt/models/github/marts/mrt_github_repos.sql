-- One row a repository for dashboards, the most starred first in `star_rank`.
select
  repo_id,
  full_name,
  owner_login,
  language,
  license,
  is_private,
  is_fork,
  is_archived,
  stargazers_count,
  forks_count,
  open_issues_count,
  topic_count,
  event_count,
  active_days,
  last_event_at,
  created_at,
  pushed_at,
  row_number() over (order by stargazers_count desc, repo_id) as star_rank,
  current_timestamp as _transformed_at
from {{ ref('fct_github_repo_stats') }}
