-- One row an event, with its day, hour and kind.
select
  event_id,
  event_type,
  case
    when event_type = 'PushEvent' then 'push'
    when event_type = 'PullRequestEvent' then 'pull_request'
    when event_type in ('PullRequestReviewEvent', 'PullRequestReviewCommentEvent', 'PullRequestReviewThreadEvent')
      then 'review'
    when event_type = 'IssuesEvent' then 'issue'
    when event_type in ('IssueCommentEvent', 'CommitCommentEvent') then 'comment'
    when event_type = 'WatchEvent' then 'star'
    when event_type = 'ForkEvent' then 'fork'
    when event_type = 'CreateEvent' then 'create'
    when event_type = 'DeleteEvent' then 'delete'
    when event_type = 'ReleaseEvent' then 'release'
    else 'other'
  end as event_kind,
  actor_id,
  actor_login,
  repo_id,
  repo_name,
  org_login,
  action,
  ref,
  ref_type,
  distinct_commits,
  is_public,
  created_at,
  {{ day_of('created_at') }} as activity_date,
  {{ hour_of('created_at') }} as hour_of_day,
  partition_date,
  current_timestamp as _transformed_at
from {{ ref('stg_github_events') }}
