-- One row per session of a user: its events, no two of them more than 30 minutes apart.
with spells as (
  select
    actor_login,
    event_id,
    repo_name,
    created_at,
    case
      when created_at
        > lag(created_at) over (partition by actor_login order by created_at, event_id) + interval '30' minute
        then 1
      else 0
    end as begins
  from {{ ref('stg_public_events') }}
  where actor_login is not null
),

numbered as (
  select
    actor_login,
    repo_name,
    created_at,
    sum(begins) over (
      partition by actor_login order by created_at, event_id rows between unbounded preceding and current row
    ) as session_number
  from spells
)

select
  actor_login,
  cast(session_number as bigint) + 1 as session_number,
  min(created_at) as session_start_at,
  max(created_at) as session_end_at,
  count(*) as events_in_session,
  count(distinct repo_name) as distinct_repos,
  current_timestamp as _transformed_at
from numbered
group by actor_login, session_number
