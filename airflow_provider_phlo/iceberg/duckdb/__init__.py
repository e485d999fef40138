"""DuckDB over a catalog: a view per table, so that any SQL reads Iceberg."""
