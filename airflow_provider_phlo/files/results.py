"""What a load did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LoadResult:
    """
    What a load did.

    :param scanned_files: files that were found.
    :param loaded_files: of them, those loaded now.
    :param skipped_files: of them, those whose content had been loaded before.
    :param inserted_events: rows that the table gained.
    :param rejected_lines: lines of the files loaded now that are not rows; they are in ``rejected_lines``.
    :param other_files: files of names that are not loaded, and links to folders, which are left alone.
    :param duration_ms: how long it took, in milliseconds.
    :param db_path: the DuckDB file.
    """

    scanned_files: int
    loaded_files: int
    skipped_files: int
    inserted_events: int
    rejected_lines: int
    other_files: int
    duration_ms: int
    db_path: str

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class FileFailure:
    """
    A file that could not be loaded.

    :param file: its path.
    :param reason: what is wrong with it, in words that hold none of its content.
    :param passing: True when a later attempt may succeed.
    """

    file: str
    reason: str
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"
