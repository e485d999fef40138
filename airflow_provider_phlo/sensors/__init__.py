"""Sensors: tasks that wait for something in the lakehouse, in a worker or deferred to the triggerer."""
