"""
What is served over HTTP: the API of public events, in Airflow's api-server (:mod:`.mounted`) or alone
(:mod:`.alone`).
"""
