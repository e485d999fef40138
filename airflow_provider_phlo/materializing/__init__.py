"""
Make assets: from names to runs of Airflow's DAGs, and what became of them.

:mod:`.assets` is what an Airflow knows of its assets and who makes them, :mod:`.selection` which of them are meant,
:mod:`.planning` which tasks that is and their DAGs, in which order; :mod:`.running` starts exactly those,
:mod:`.following` watches them, :mod:`.outcomes` says what they made.
"""
