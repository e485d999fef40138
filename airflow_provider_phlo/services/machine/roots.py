"""Which folder is a project's: the nearest upwards with a ``phlo.yaml``, whose content does not matter here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FILE = "phlo.yaml"


def first_root(folders: Iterable[Path]) -> Path | None:
    """Return the first of the folders that is a project's; None if none is."""
    return next((folder for folder in folders if (folder / FILE).is_file()), None)


def find_root(start: Path) -> Path | None:
    """Return the project's folder that ``start`` is or is in; None if it is in none."""
    start = start.resolve()
    return first_root((start, *start.parents))
