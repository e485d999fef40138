"""A plugin for airflow-provider-phlo; pyproject.toml gives it its name."""
