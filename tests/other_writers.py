"""
Tables that Spark, Flink and dlt wrote, unpacked from ``fixtures/other_writers``.

Iceberg's paths are absolute. A table is unpacked into a folder whose name is as long as that of the folder in which it
was written, and every path in its metadata and delete files is then replaced by one of the same length.
"""

from __future__ import annotations

import gzip
import io
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from tests.fixtures.other_writers.pack import PLACE

FOLDER = Path(__file__).parent / "fixtures" / "other_writers"
NAMES = sorted(f"{path.parent.name}/{path.name.removesuffix('.tar.xz')}" for path in FOLDER.glob("*/*.tar.xz"))


@dataclass(frozen=True)
class WrittenTable:
    """
    A table of another writer.

    :param folder: where it lies.
    :param metadata: the newest metadata file.
    :param rows: what its writer reads, ordered by key; None if Arrow has no such type.
    """

    folder: Path
    metadata: str
    rows: pa.Table | None

    def register(self, catalog: Catalog, identifier: str = "raw.t") -> Table:
        """Add the table to a catalog."""
        ensure_namespace(catalog, identifier.partition(".")[0])
        return catalog.register_table(identifier, self.metadata)


@contextmanager
def unpacked(name: str) -> Iterator[WrittenTable]:
    """
    Unpack a table, and remove it afterwards.

    :param name: one of :data:`NAMES`.
    """
    # as long as PLACE
    folder = Path(f"{PLACE[:-12]}{secrets.token_hex(6)}")
    try:
        with tarfile.open(FOLDER / f"{name}.tar.xz") as archive:
            yield _unpack(archive, name.rpartition("/")[2], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: tarfile.TarFile, name: str, folder: Path) -> WrittenTable:
    metadata, rows = "", None
    for member in archive:
        stored = archive.extractfile(member)
        content = stored.read() if stored else b""
        if member.name == f"{name}.metadata":
            metadata = content.decode().replace(PLACE, str(folder))
        elif member.name == f"{name}.parquet":
            rows = pq.read_table(io.BytesIO(content))
        else:
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_relocated(content, str(folder).encode()))
    return WrittenTable(folder, metadata, rows)


def _relocated(content: bytes, folder: bytes) -> bytes:
    """Return a file with the paths below ``folder``."""
    if content.startswith(b"Obj\x01"):
        return _relocated_avro(content, folder)
    if content.startswith(b"\x1f\x8b"):
        return gzip.compress(_relocated(gzip.decompress(content), folder))
    return content.replace(PLACE.encode(), folder)


def _relocated_avro(content: bytes, folder: bytes) -> bytes:
    """Return an Avro file, whose blocks are compressed."""
    source = io.BytesIO(content)
    source.seek(4)
    codec = b"null"
    while count := _read_long(source):
        if count < 0:
            _read_long(source)  # the size in bytes
        for _ in range(abs(count)):
            key, value = source.read(_read_long(source)), source.read(_read_long(source))
            codec = value if key == b"avro.codec" else codec
    if codec not in (b"null", b"deflate"):  # of rows, which name no paths
        return content
    sync = source.read(16)
    written = [content[: source.tell()]]
    while source.tell() < len(content):
        count, data = _read_long(source), source.read(_read_long(source))
        data = _decoded(data, codec).replace(PLACE.encode(), folder)
        data = _encoded(data, codec)
        written += [_long(count), _long(len(data)), data, source.read(len(sync))]
    return b"".join(written)


def _decoded(data: bytes, codec: bytes) -> bytes:
    return zlib.decompress(data, -15) if codec == b"deflate" else data


def _encoded(data: bytes, codec: bytes) -> bytes:
    if codec != b"deflate":
        return data
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _read_long(source: io.BytesIO) -> int:
    number = shift = 0
    while True:
        byte = source.read(1)[0]
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1)


def _long(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
