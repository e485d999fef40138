"""
Data files of an object store, as a file system that DuckDB reads them through.

DuckDB's own reader of object stores is an extension that has to be downloaded, and would need the keys as settings that
SQL can look at. Here PyArrow reads, with the credentials of the table (vended ones too), and SQL reaches the files of
one snapshot of one table: nothing else exists.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile

PROTOCOL = "phlo"
# data files never change; DuckDB asks to know whether what it cached is still right
_WRITTEN = datetime(2000, 1, 1, tzinfo=UTC)
_numbers = count(1)


def mount(connection: duckdb.DuckDBPyConnection, io: FileIO, files: Iterable[DataFile]) -> DataFiles:
    """
    Make files readable for SQL on this connection, and no others.

    :param io: opens them, with the credentials of their table.
    """
    mounted = DataFiles(f"{PROTOCOL}{next(_numbers)}", io, files)
    connection.register_filesystem(mounted)
    return mounted


class DataFiles(AbstractFileSystem):
    """
    Some data files, to be read.

    :param protocol: the scheme of their URLs, one of its own: DuckDB chooses the file system by it.
    """

    cachable = False

    def __init__(self, protocol: str, io: FileIO, files: Iterable[DataFile]) -> None:
        super().__init__()
        self.protocol = protocol
        self.io = io
        self.root = f"{protocol}://"
        sizes = {file.file_path: file.file_size_in_bytes for file in files}
        self.urls = {location: self.root + location.partition("://")[2] for location in sizes}
        self._files = {url: (location, sizes[location]) for location, url in self.urls.items()}

    def open(self, path: str, mode: str = "rb", **_: Any) -> DataFileReader:
        """Open a file; only reading is possible."""
        if mode != "rb":
            raise PermissionError(f"{path} can only be read.")
        return DataFileReader(self.io.new_input(self._entry(path)[0]).open())

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return the size of a file, which the table's metadata knows."""
        return {"name": path, "size": self._entry(path)[1], "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the file: there are no patterns."""
        return [path] if path in self._files else []

    def modified(self, path: str) -> datetime:
        """Return a constant time: data files never change."""
        return _WRITTEN

    def _entry(self, path: str) -> tuple[str, int]:
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(f"{path} is not a file of the tables that were opened.") from None


class DataFileReader:
    """
    An open file for DuckDB, whose threads share it: each has a position of its own.

    With one position for all, a thread would read where another has just been: wrong rows, or none.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._local = threading.local()

    def seek(self, position: int, whence: int = 0) -> int:
        """Move this thread's position; DuckDB counts from the start only."""
        assert whence == 0, "DuckDB seeks from the start"
        self._local.position = position
        return position

    def tell(self) -> int:
        """Return this thread's position."""
        return getattr(self._local, "position", 0)

    def read(self, size: int = -1) -> bytes:
        """Read at this thread's position."""
        position = self.tell()
        data: bytes = self._source.read_at(self._source.size() - position if size < 0 else size, position)
        self._local.position = position + len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._source.close()
