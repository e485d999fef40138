-- The repositories with the most events since $since, at most $count of them. Their people are counted, which takes
-- longest, only after it is known which repositories they are.
WITH recent AS NOT MATERIALIZED (
    SELECT repo_name, actor_id, event_type, created_at
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
    count(DISTINCT actor_id) AS unique_users,
    count(*) FILTER (WHERE event_type = 'PushEvent') AS push_events,
    min(created_at) AS first_event_at,
    max(created_at) AS last_event_at,
    $now AS processed_at
FROM recent
WHERE repo_name IN (SELECT repo_name FROM busiest)
GROUP BY repo_name
ORDER BY total_events DESC, repo_name
