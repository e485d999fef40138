"""Turn Apache Airflow 3 into a lakehouse platform."""

__version__ = "0.1.0"
