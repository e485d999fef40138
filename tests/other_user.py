"""What other users of the machine can read: by its modes, and tried by a child that becomes one of them (as root)."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path


def open_to_others(home: Path) -> dict[str, str]:
    """Return every path with a right of group or others; to pass through may be allowed (Postgres of root)."""
    allowed = 0o011 if os.geteuid() == 0 else 0
    passages = {home, home / "postgres"}
    return {
        str(path.relative_to(home)): oct(path.lstat().st_mode & 0o777)
        for path in (home, *sorted(home.rglob("*")))
        if not path.is_symlink() and path.lstat().st_mode & 0o077 & ~(allowed if path in passages else 0)
    }


def readable_by(uid: int, paths: Iterable[str | Path]) -> list[str]:
    """Return those of ``paths`` that a user may open, or list."""
    # forked: the other user may not be able to run this Python
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_try, args=(uid, [str(path) for path in paths], sender))
    child.start()
    sender.close()
    found: list[str] = json.loads(receiver.recv())
    child.join()
    return found


def _try(uid: int, paths: list[str], sender: Connection) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    sender.send(json.dumps([path for path in paths if _opens(path)]))


def _opens(path: str) -> bool:
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").close()
    except (PermissionError, FileNotFoundError):
        return False
    return True
