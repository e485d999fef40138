"""``phlo api``: marts for applications."""
