"""
Keep what is below ``PHLO_HOME`` to its owner: new files by the umask, older ones by mending their modes.

A folder that is its owner's only protects all that is in it, whatever wrote it: DuckDB, PyIceberg, Airflow and dlt
create files with the modes that the umask leaves.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

UMASK = 0o077
_OTHERS = 0o077

#: All that runs keep in their home; a file of any other name is somebody else's.
STATE = frozenset(
    {"airflow", "catalog.db", "catalog.db-journal", "catalog.db-shm", "catalog.db-turns", "catalog.db-wal"}
    | {"cosmos", "dbt", "demo.lock", "dlt", "events", "logs", "postgres", "replay", "secrets", "services"}
    | {"setup.lock", "stage", "staging", "warehouse"}
)
# Root's Postgres runs as another user, who has to pass through these folders and may list neither.
PASSAGE = 0o711
_WITH_PASSAGE = "postgres"


def protect(home: Path) -> None:
    """
    Create ``home``, close what is in it to other users, and have this process create private files from now on.

    What was there before is mended once: a folder that is closed already is not walked. Links and the files of other
    users stay as they are, and so does the mode of a folder that holds more than runs have made.

    :param home: the folder of all local state.
    """
    os.umask(UMASK)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    entries = list(os.scandir(home))
    for entry in entries:
        if entry.name in STATE:
            _close(entry.path, passage=entry.name == _WITH_PASSAGE)
    if all(entry.name in STATE for entry in entries):
        _restrict(home, os.stat(home), passage=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all or nothing; what was there is replaced."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    part.replace(path)


def _close(path: str, *, passage: bool = False) -> None:
    """Take the rights of others from ``path``, and from all below a folder that was open."""
    with contextlib.suppress(FileNotFoundError):  # another process has removed it meanwhile
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return
        was_open = _restrict(path, found, passage=passage)
        if stat.S_ISDIR(found.st_mode) and (was_open or passage):
            for entry in os.scandir(path):
                _close(entry.path)


def _restrict(path: str | Path, found: os.stat_result, *, passage: bool = False) -> bool:
    """Take the rights of others from one file or folder of this user; return whether they had any."""
    is_root = os.geteuid() == 0
    kept = found.st_mode & _OTHERS & PASSAGE if passage and is_root else 0
    if found.st_mode & _OTHERS == kept or not (is_root or found.st_uid == os.geteuid()):
        return False
    os.chmod(path, stat.S_IMODE(found.st_mode) & ~_OTHERS | kept)
    return True
