"""Airflow notifiers of this package, which callbacks of DAGs may use as alerts do."""
