"""Files that are there after a power cut: whole, or as they were before."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Have the disk hold what a file contains, or which names a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(fresh: Path, path: Path) -> None:
    """Put ``fresh``, its owner's only, in the place of ``path``: even a power cut leaves one of the two."""
    os.chmod(fresh, 0o600)
    flush(fresh)
    fresh.replace(path)
    flush(path.parent)
