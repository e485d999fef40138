-- The sessions that began since $since, the latest first, at most $count of them. A session is a row of events of one
-- user in which none is more than 30 minutes after the one before. Events from 30 minutes before $since are read too:
-- whoever was active then goes on with a session that began earlier.
WITH recent AS (
    SELECT
        actor_login,
        created_at,
        coalesce(
            created_at - lag(created_at) OVER (PARTITION BY actor_login ORDER BY created_at) > INTERVAL 30 MINUTES,
            true
        ) AS begins
    FROM events
    WHERE actor_login IS NOT NULL AND created_at >= $since - INTERVAL 30 MINUTES
),

numbered AS (
    SELECT
        actor_login,
        created_at,
        count(*) FILTER (WHERE begins) OVER (PARTITION BY actor_login ORDER BY created_at) AS number
    FROM recent
),

sessions AS (
    SELECT
        actor_login,
        min(created_at) AS session_start_at,
        max(created_at) AS session_end_at,
        count(*) AS events_in_session
    FROM numbered
    GROUP BY actor_login, number
)

SELECT
    actor_login,
    actor_login || '-' || strftime(session_start_at, '%Y%m%dT%H%M%SZ') AS session_id,
    session_start_at,
    session_end_at,
    events_in_session
FROM sessions
WHERE session_start_at >= $since
ORDER BY session_start_at DESC, actor_login
LIMIT $count
