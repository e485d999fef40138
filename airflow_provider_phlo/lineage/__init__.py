"""
Lineage: where the data of tables and columns comes from, and what it becomes.

Facts come from DAGs (what operators say of their work), from dbt's manifest and compiled SQL, and from the catalog.
Nothing is stored that cannot be made again from them.
"""
