-- Public events, and the files that they came from. Times are instants; the session's time zone is UTC.
CREATE TABLE IF NOT EXISTS events (
    event_id VARCHAR PRIMARY KEY,
    event_type VARCHAR,
    created_at TIMESTAMPTZ,
    ingested_at TIMESTAMPTZ,
    actor_id BIGINT,
    actor_login VARCHAR,
    repo_id BIGINT,
    repo_name VARCHAR,
    payload JSON,
    raw JSON,
    source_file VARCHAR NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_events_type ON events (event_type);
CREATE INDEX IF NOT EXISTS idx_events_created_at ON events (created_at);
-- the version of each file that was loaded last
CREATE TABLE IF NOT EXISTS loaded_files (
    file_path VARCHAR PRIMARY KEY,
    file_size BIGINT NOT NULL,
    file_mtime TIMESTAMPTZ NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_loaded_files_sha256 ON loaded_files (file_sha256);
-- versions before that, of files that changed
CREATE TABLE IF NOT EXISTS replaced_files (
    file_path VARCHAR NOT NULL,
    file_size BIGINT NOT NULL,
    file_mtime TIMESTAMPTZ NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL,
    replaced_at TIMESTAMPTZ NOT NULL
);
-- lines that are not events
CREATE TABLE IF NOT EXISTS rejected_lines (
    source_file VARCHAR NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    line_number BIGINT NOT NULL,
    byte_offset BIGINT,
    reason VARCHAR NOT NULL,
    raw VARCHAR NOT NULL,
    rejected_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (file_sha256, line_number)
);
