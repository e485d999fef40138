"""A graph in the forms that other programs read: Mermaid, Graphviz, JSON, OpenLineage."""
