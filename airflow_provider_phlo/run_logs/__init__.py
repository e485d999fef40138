"""The logs of tasks as one stream, ordered by time: through Airflow's API, or from the files of this machine."""
