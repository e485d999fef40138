"""An example of each kind of plugin for airflow-provider-phlo; pyproject.toml gives them their names."""
