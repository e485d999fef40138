"""``make demo``: the example pipelines under Airflow itself."""
