"""Commands of the examples' sources: events, pulls, serve."""
