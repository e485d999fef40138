"""
What runs beside Airflow: the embedded environment (:mod:`.embedded`), the bundled Postgres (:mod:`.postgres`),
processes that end together (:mod:`.processes`), and ``make demo`` (:mod:`.demo`) with its report (:mod:`.report`) and
its client of Airflow's REST API (:mod:`.airflow_api`).
"""
