"""Texts of others, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text that cannot send control sequences to the terminal."""
    return "".join(character if character.isprintable() else "·" for character in text)
