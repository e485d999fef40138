"""
The decorators of DAG files: ``@phlo_ingestion`` declares a table that a function fills, ``@phlo_quality`` checks;
``phlo_watch_dag`` watches.
"""

from airflow_provider_phlo.decorators.ingestion import Ingestion, phlo_ingestion
from airflow_provider_phlo.decorators.quality import Quality, phlo_quality
from airflow_provider_phlo.decorators.watch import phlo_watch_dag

__all__ = ["Ingestion", "Quality", "phlo_ingestion", "phlo_quality", "phlo_watch_dag"]
