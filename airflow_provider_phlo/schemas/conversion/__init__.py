"""
What a source yields, as Arrow tables of declared names and types (:mod:`.conform`): records become columns
(:mod:`.records`), declared columns are converted (:mod:`.casts`), and the others get a type (:mod:`.undeclared`) that
Iceberg has (:mod:`.storable`).
"""

from airflow_provider_phlo.schemas.conversion.casts import recast
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.conversion.names import ColumnNames
from airflow_provider_phlo.schemas.conversion.records import Malformed
from airflow_provider_phlo.schemas.conversion.undeclared import common_type

__all__ = ["ColumnNames", "Malformed", "common_type", "conform", "recast"]
