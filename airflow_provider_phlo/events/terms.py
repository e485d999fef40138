"""The names by which others know the DAGs of public events; imports nothing, so that whatever Airflow parses can."""

INGEST_DAG = "github_events"
LOAD_DAG = "github_events_load"
LOAD_TASK = "load"
