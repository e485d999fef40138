"""Catalogs: open one of any kind, and repeat what lost a race against other writers of it."""
