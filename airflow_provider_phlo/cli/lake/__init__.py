"""Commands about tables: query, catalog, schema, quarantine, maintenance, lineage."""
