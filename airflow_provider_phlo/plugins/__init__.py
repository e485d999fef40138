"""
What Airflow loads as a plugin (:mod:`.phlo`).

Its listeners keep tasks and DAG parsing warm (:mod:`.preload`), look after assets (:mod:`.assets`), and write down what
has failed (:mod:`.alerts`).
"""
