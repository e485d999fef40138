"""
A dbt project as Airflow tasks: what is selected (:mod:`.selection`), refused (:mod:`.unsupported`), and made of it
(:mod:`.task_group`, :mod:`.operators`).
"""
