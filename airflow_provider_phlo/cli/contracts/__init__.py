"""``phlo contract``."""
