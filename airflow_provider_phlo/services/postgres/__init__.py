"""The bundled Postgres, and Airflow's metadata in it."""
