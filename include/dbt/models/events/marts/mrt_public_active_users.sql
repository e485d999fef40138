-- One row per user, the one with most events first in `event_rank`.
with sessions as (
  select
    actor_login,
    sum(events_in_session) as total_events,
    count(*) as session_count,
    min(session_start_at) as first_event_at,
    max(session_end_at) as last_event_at
  from {{ ref('fct_public_user_sessions') }}
  group by actor_login
)

select
  actor_login,
  cast(total_events as bigint) as total_events,
  session_count,
  first_event_at,
  last_event_at,
  row_number() over (order by total_events desc, actor_login) as event_rank,
  current_timestamp as _transformed_at
from sessions
