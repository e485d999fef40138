"""Triggers: what the triggerer runs for tasks that wait without a worker."""
