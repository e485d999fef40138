"""
Iceberg tables, as plain functions on a PyIceberg catalog: tables, branches, publication, reading, writing, history.

Rooms: :mod:`.merge` takes a batch into a table, :mod:`.maintenance` keeps tables small, :mod:`.trino` lets Trino merge.
"""
