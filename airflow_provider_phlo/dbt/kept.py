"""
What tasks find out about texts of a parsed project, kept from one task to the next: each would find it out anew.

Only what depends on nothing but the text, and on versions, is kept. Each kind has a file in the project's folder of
``PHLO_HOME``, which tasks add to.
"""

from __future__ import annotations

import marshal
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Generic, TypeVar

# what is not used by then begins anew: a project that changes all the time leaves its old texts behind
_MOST = 20_000

Found = TypeVar("Found")


class Kept(Generic[Found]):
    """
    What is found of texts, by two words that name each: a kind, and the text or a hash of it.

    :param file: the name of the file.
    :param versions: of what finds it; a file of others is left alone.
    """

    def __init__(self, file: str, versions: str) -> None:
        self._file = file
        self._versions = versions
        self._read: dict[Path, tuple[int, int]] = {}
        self._saved = 0
        #: What is known in this process; code and other values that :mod:`marshal` writes.
        self.known: dict[tuple[str, str], Found] = {}

    def load(self, folder: Path) -> None:
        """
        Read what earlier tasks have found; a file that is not to be used is left alone.

        :param folder: the target path of the project.
        """
        path = folder / self._file
        with suppress(OSError, ValueError, EOFError, TypeError):
            state = path.stat()
            place = (state.st_ino, state.st_mtime_ns)
            if self._read.get(path) != place:
                versions, found = marshal.loads(path.read_bytes())  # noqa: S302 - ours, in a folder only we write
                if versions == self._versions:
                    self.known.update(found)
                self._read[path] = place
        self._saved = len(self.known)

    def save(self, folder: Path) -> None:
        """Write what is known, if it is more than what was read; of processes that do so at once, the last one wins."""
        if len(self.known) == self._saved:
            return
        self.load(folder)
        if len(self.known) > _MOST:
            self.known.clear()
        with suppress(OSError):
            with NamedTemporaryFile(dir=folder, prefix=f"{self._file}-", delete=False) as out:
                out.write(marshal.dumps((self._versions, self.known)))
            os.replace(out.name, folder / self._file)
