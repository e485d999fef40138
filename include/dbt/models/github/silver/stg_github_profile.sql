-- Each user once.
select
  user_id,
  login,
  name,
  company,
  location,
  bio,
  blog,
  html_url,
  coalesce(public_repos, 0) as public_repos,
  coalesce(public_gists, 0) as public_gists,
  coalesce(followers, 0) as followers,
  coalesce("following", 0) as following_count,
  created_at,
  updated_at,
  partition_date,
  current_timestamp as _transformed_at
from {{ ref('github_profile') }}
where arrival = 1
  and user_id is not null
