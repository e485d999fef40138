"""Data files and manifests: read and written in bounded memory, by field id, with bounds that are certain."""
