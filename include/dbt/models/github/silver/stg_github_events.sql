-- Each event once, typed.
select
  event_id,
  event_type,
  try_cast(actor_id as bigint) as actor_id,
  actor_login,
  try_cast(repo_id as bigint) as repo_id,
  repo_name,
  org_login,
  action,
  ref,
  ref_type,
  try_cast(distinct_commits as bigint) as distinct_commits,
  is_public,
  created_at,
  partition_date,
  current_timestamp as _transformed_at
from {{ ref('github_events') }}
where arrival = 1
  and event_id is not null
  and created_at is not null
