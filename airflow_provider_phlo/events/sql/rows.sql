-- The lines of a file (relation lines) as rows of events. No line makes the statement fail. A row is plain where its values leave no doubt about the
-- types that the line has (DuckDB's words for times, such as epoch, are not times here); reason says why the values of a line cannot be a row's.
WITH parsed AS (
    SELECT
        file_number,
        line_number,
        rtrim(raw, chr(13) || chr(10)) AS raw,
        try(json_transform(
            raw,
            '{"id": "VARCHAR", "type": "VARCHAR", "created_at": "VARCHAR", "ingested_at": "VARCHAR",
              "actor": {"id": "VARCHAR", "login": "VARCHAR"}, "repo": {"id": "VARCHAR", "name": "VARCHAR"},
              "payload": "JSON"}'
        )) AS event
    FROM lines
),

typed AS (
    SELECT
        file_number,
        line_number,
        event.id AS event_id,
        event.type AS event_type,
        try_cast(upper(event.created_at) AS TIMESTAMPTZ) AS created_at,
        try_cast(upper(event.ingested_at) AS TIMESTAMPTZ) AS ingested_at,
        try_cast(event.actor.id AS BIGINT) AS actor_id,
        event.actor.login AS actor_login,
        try_cast(event.repo.id AS BIGINT) AS repo_id,
        event.repo.name AS repo_name,
        event.payload AS payload,
        raw,
        event
    FROM parsed
)

SELECT
    file_number,
    line_number,
    event_id,
    event_type,
    created_at,
    ingested_at,
    actor_id,
    actor_login,
    repo_id,
    repo_name,
    payload,
    raw,
    CASE
        WHEN event IS NULL THEN 'is not valid JSON'
        WHEN
            event.created_at IS NOT NULL
            AND NOT coalesce(
                ltrim(event.created_at)[1] BETWEEN '0' AND '9'
                AND created_at BETWEEN '0001-01-01T00:00:00Z' AND '9999-12-31T23:59:59.999999Z',
                false
            )
            THEN 'created_at is not a time of the years 1 to 9999'
        WHEN
            event.ingested_at IS NOT NULL
            AND NOT coalesce(
                ltrim(event.ingested_at)[1] BETWEEN '0' AND '9'
                AND ingested_at BETWEEN '0001-01-01T00:00:00Z' AND '9999-12-31T23:59:59.999999Z',
                false
            )
            THEN 'ingested_at is not a time of the years 1 to 9999'
        WHEN event.actor.id IS NOT NULL AND actor_id IS NULL THEN 'actor.id does not fit into 64 bits'
        WHEN event.repo.id IS NOT NULL AND repo_id IS NULL THEN 'repo.id does not fit into 64 bits'
    END AS reason,
    coalesce(
        regexp_full_match(event_id, '[0-9]+')
        AND regexp_full_match(event.actor.id, '[0-9]+')
        AND regexp_full_match(event.repo.id, '[0-9]+')
        AND event_type[1] NOT IN ('{', '[')
        AND event.created_at[1] NOT IN ('{', '[')
        AND coalesce(actor_login[1] NOT IN ('{', '['), true)
        AND coalesce(repo_name[1] NOT IN ('{', '['), true),
        false
    ) AS plain
FROM typed
