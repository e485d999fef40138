"""Where a value still is: in names of files and folders, in raw bytes, and in what Parquet, Avro and gzip compress."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def remains(folder: Path, *values: str) -> list[str]:
    """Return the files and folders below ``folder`` in which one of the values is, with the reason."""
    return sorted(
        f"{path.relative_to(folder)}: {where}"
        for path in folder.rglob("*")
        for value in values
        for where in _where(path, value)
    )


def _where(path: Path, value: str) -> Iterator[str]:
    if value in path.name:
        yield "its name"
    if not path.is_file():
        return
    content = path.read_bytes()
    if value.encode() in content:
        yield "its bytes"
    if path.suffix == ".parquet":
        rows = pq.ParquetFile(path).read()
        if any(value in str(cell) for column in rows.columns for cell in pa.chunked_array(column).to_pylist()):
            yield "its rows"
    elif path.suffix == ".avro" and any(value.encode() in block for block in _blocks(content)):
        yield "its blocks"
    elif content.startswith(b"\x1f\x8b") and value.encode() in gzip.decompress(content):
        yield "its text"


def _blocks(content: bytes) -> Iterator[bytes]:
    """Yield what the blocks of an Avro file hold: they lie between marks that the header ends with."""
    mark = content[-16:]
    for block in content.split(mark)[1:-1]:
        # the block begins with two numbers, of at most ten bytes each
        for start in range(2, 21):
            for window in (-15, 15, 31):
                try:
                    yield zlib.decompress(block[start:], window)
                except zlib.error:
                    continue
