"""PyIceberg's files by PyArrow, for locations with any character: its own cuts them at ``#`` and ``?``."""

from __future__ import annotations

from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties


class WholeLocations(PyArrowFileIO):
    """Open files by their whole location, as Trino, Spark and DuckDB do: it is not a URL with a query or a fragment."""

    @staticmethod
    def parse_location(location: str, properties: Properties = EMPTY_DICT) -> tuple[str, str, str]:
        """
        Return the scheme, the host or bucket, and the path of a location.

        :param properties: as PyIceberg's own takes them; used for what has no scheme.
        """
        scheme, has_scheme, rest = location.partition(":")
        if not has_scheme or not rest.startswith("/") or len(scheme) == 1:
            return PyArrowFileIO.parse_location(location, properties)
        netloc, path = "", rest
        if rest.startswith("//"):
            netloc, slash, path = rest[2:].partition("/")
            path = slash + path
        if scheme == "file" and netloc == "localhost":
            netloc = ""
        return scheme, netloc, path if scheme in ("hdfs", "viewfs") else netloc + path


def with_whole_locations(io: FileIO) -> FileIO:
    """Return what opens the same files; by their whole locations, if it is PyIceberg's own for PyArrow."""
    return WholeLocations(io.properties) if type(io) is PyArrowFileIO else io
