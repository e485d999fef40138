"""A package, so that its Airflow ends with its last test instead of running idle beside the others."""
