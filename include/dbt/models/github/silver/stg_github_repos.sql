-- Each repository once, counts never NULL.
select
  repo_id,
  repo_name,
  full_name,
  owner_login,
  coalesce(is_private, false) as is_private,
  coalesce(is_fork, false) as is_fork,
  coalesce(is_archived, false) as is_archived,
  html_url,
  description,
  language,
  default_branch,
  license,
  coalesce({{ json_length('topics') }}, 0) as topic_count,
  size_kb,
  coalesce(stargazers_count, 0) as stargazers_count,
  coalesce(watchers_count, 0) as watchers_count,
  coalesce(forks_count, 0) as forks_count,
  coalesce(open_issues_count, 0) as open_issues_count,
  created_at,
  updated_at,
  pushed_at,
  partition_date,
  current_timestamp as _transformed_at
from {{ ref('github_repos') }}
where arrival = 1
  and repo_id is not null
