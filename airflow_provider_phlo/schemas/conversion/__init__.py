"""
What a source yields, as Arrow tables of declared names and types (:mod:`.conform`): records become columns
(:mod:`.records`), declared columns are converted (:mod:`.casts`), and the others get a type (:mod:`.undeclared`) that
Iceberg has (:mod:`.storable`), and columns beside them (:mod:`.variants`) for values that it does not hold exactly
(:mod:`.exact`).
"""

from airflow_provider_phlo.schemas.conversion.conform import conform, conform_loosely
from airflow_provider_phlo.schemas.conversion.names import ColumnNames
from airflow_provider_phlo.schemas.conversion.records import Malformed

__all__ = ["ColumnNames", "Malformed", "conform", "conform_loosely"]
