"""
Facets for the events that Airflow's OpenLineage provider emits of a task: what it read and wrote, and of which day.

Operators say it as plain values (:mod:`.work`), in the task; the facets are made of them when the provider asks.
"""
