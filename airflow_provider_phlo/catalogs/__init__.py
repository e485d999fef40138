"""
Catalogs of data elsewhere that learn what is here: as events of runs (OpenLineage), or by their API (OpenMetadata).

What they get holds no value of a row and no secret: names, types, documentation, counts, verdicts.
"""
