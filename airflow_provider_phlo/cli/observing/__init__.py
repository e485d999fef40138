"""``phlo logs`` and ``phlo metrics``."""
