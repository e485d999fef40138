"""A project's environment: ``phlo.yaml``, its home, connections, recordings."""
