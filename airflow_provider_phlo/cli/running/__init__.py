"""``phlo materialize`` and ``phlo backfill``."""
