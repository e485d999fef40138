-- The repositories with the most events since $since, at most $count of them, each with its events as a list, the
-- latest first.
WITH recent AS NOT MATERIALIZED (
    SELECT event_id, event_type, created_at, actor_login, repo_name
    FROM events
    WHERE created_at >= $since AND repo_name IS NOT NULL
),

busiest AS (
    SELECT repo_name
    FROM recent
    GROUP BY repo_name
    ORDER BY count(*) DESC, repo_name
    LIMIT $count
)

SELECT
    repo_name,
    count(*) AS total_events,
    list(
        {event_id: event_id, event_type: event_type, actor_login: actor_login, created_at: created_at}
        ORDER BY created_at DESC, event_id
    ) AS events
FROM recent
WHERE repo_name IN (SELECT repo_name FROM busiest)
GROUP BY repo_name
ORDER BY total_events DESC, repo_name
