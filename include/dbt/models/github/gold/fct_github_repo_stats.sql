-- One row a repository of the user, with what happened in it.
with activity as (
  select
    repo_id,
    count(*) as event_count,
    count(distinct activity_date) as active_days,
    min(created_at) as first_event_at,
    max(created_at) as last_event_at
  from {{ ref('fct_github_events') }}
  where repo_id is not null
  group by repo_id
)

select
  repos.repo_id,
  repos.full_name,
  repos.owner_login,
  repos.language,
  repos.license,
  repos.is_private,
  repos.is_fork,
  repos.is_archived,
  repos.topic_count,
  repos.size_kb,
  repos.stargazers_count,
  repos.watchers_count,
  repos.forks_count,
  repos.open_issues_count,
  repos.created_at,
  repos.updated_at,
  repos.pushed_at,
  coalesce(activity.event_count, 0) as event_count,
  coalesce(activity.active_days, 0) as active_days,
  activity.first_event_at,
  activity.last_event_at,
  current_timestamp as _transformed_at
from {{ ref('stg_github_repos') }} as repos
left join activity on activity.repo_id = repos.repo_id
