"""
Iceberg tables, as plain functions on a PyIceberg catalog.

Rooms, each using those before it: :mod:`.catalogs` opens them, :mod:`.tables` is schema and layout, :mod:`.files` reads
and writes data files and manifests, :mod:`.branches` is commits, publication and history, :mod:`.duckdb` lets SQL read.
On top: :mod:`.merge` takes a batch into a table, :mod:`.overwrite` replaces a table by a query's rows,
:mod:`.maintenance` keeps tables small, :mod:`.trino` lets Trino merge.
"""
