"""
Public events of GitHub: batches of them on disk (:mod:`.batches`), loaded into DuckDB (:mod:`.loading`), published to
readers and queried.
"""
