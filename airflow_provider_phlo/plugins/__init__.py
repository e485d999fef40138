"""What Airflow loads as a plugin (:mod:`.phlo`): a listener that keeps tasks and DAG parsing warm (:mod:`.preload`)."""
