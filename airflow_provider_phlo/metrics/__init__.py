"""Figures of tables and runs, from what Iceberg and Airflow keep: nothing is stored for them."""
