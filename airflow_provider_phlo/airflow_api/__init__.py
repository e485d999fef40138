"""
Airflow's REST API, for whoever is not Airflow: commands of a terminal, the demo, health.

:class:`.client.AirflowApi` is the one client: requests, their repetition, tokens. What goes over the wire, and to which
host, is decided in :mod:`.transport`.
"""
