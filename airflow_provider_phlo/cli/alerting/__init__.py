"""``phlo alerts`` and ``phlo watch``."""
