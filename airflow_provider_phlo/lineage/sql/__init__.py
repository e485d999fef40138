"""Which columns of a query come from which columns of the tables that it reads, for DuckDB and Trino."""

from airflow_provider_phlo.lineage.sql.analysis import analyse_sql
from airflow_provider_phlo.lineage.sql.relations import Column, Effect, How, Relation, Rest, Value, table_relation

__all__ = ["Column", "Effect", "How", "Relation", "Rest", "Value", "analyse_sql", "table_relation"]
