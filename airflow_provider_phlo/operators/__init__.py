"""Operators: thin tasks that keep their arguments, get a hook, call one function of a wing, and return small JSON."""
