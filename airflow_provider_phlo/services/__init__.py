"""
What runs beside Airflow: the embedded environment of ``make demo`` (:mod:`.embedded`), its processes, the bundled
Postgres, the client of Airflow's API, and the demo with its report.
"""
