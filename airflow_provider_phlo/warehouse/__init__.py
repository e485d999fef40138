"""
Parquet files staged in a folder or bucket, and their way into the tables of a warehouse, which keep one row per key.

What is staged, by whom and when, is in :mod:`.stage`; what becomes of it in :mod:`.iceberg`.
"""
