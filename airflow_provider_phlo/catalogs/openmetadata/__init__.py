"""
OpenMetadata: tables, columns, lineage, checks and contracts of the catalog, by its REST API.

What has been sent stands at the tables in OpenMetadata (``sourceHash``): no other memory could disagree. What people
write there wins.
"""
