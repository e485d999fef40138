"""Watch the tables of this Airflow although no run happens: the rules are in include/alerting/config.yaml."""

from airflow_provider_phlo import phlo_watch_dag

phlo_watch_dag()
