"""Assets: how a table is known to Airflow, as the outlet of a task and the sender of events."""
