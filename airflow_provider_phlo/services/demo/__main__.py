"""``python -m airflow_provider_phlo.services.demo``."""

from airflow_provider_phlo.services.demo.run import main

main()
