"""Staged files: what is read is what was written, to the bit, or the file is reported as damaged."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from airflow_provider_phlo.broken_files import error_of_store
from airflow_provider_phlo.exceptions import ConfigurationError


class _DamagedError(Exception):
    """A file does not have the bytes that were written."""


STAGE_AGAIN = (
    "nothing was merged: remove its folder and clear the ingest task too, so that it is staged again. A retry alone "
    "reads the same files."
)
# of a manifest: the checksum of all else in it
_CHECKSUM = "checksum"
# what Arrow raises for bytes that are not those of a Parquet file of ours
_DAMAGED = (_DamagedError, pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, json.JSONDecodeError)


def parquet_bytes(rows: pa.Table) -> pa.Buffer:
    """Return a Parquet file, its pages with checksums."""
    content = pa.BufferOutputStream()
    pq.write_table(rows, content, compression="zstd", compression_level=1, write_page_checksum=True)
    return content.getvalue()


def checksum(content: bytes | pa.Buffer) -> int:
    """Return the CRC-32 of a whole file: the checksums of its pages cover neither their headers nor the schema."""
    return zlib.crc32(content)


def manifest_text(content: Mapping[str, Any]) -> str:
    """Return a manifest as JSON, with the checksum of all else in it."""
    return _canonical({**content, _CHECKSUM: _checksum_of(content)})


def manifest_content(text: str) -> dict[str, Any]:
    """
    Return what :func:`manifest_text` was given; older manifests have no checksum. Call it inside :func:`intact`.

    :raises json.JSONDecodeError: it is not JSON.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise _DamagedError
    expected = content.pop(_CHECKSUM, None)
    if expected is not None and expected != _checksum_of(content):
        raise _DamagedError
    return content


def _checksum_of(content: Mapping[str, Any]) -> int:
    return checksum(_canonical(content).encode())


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


def is_on_disk(folder: Any) -> bool:
    """Return whether files below ``folder``, which may not be there yet, are this machine's, not an object store's."""
    return isinstance(folder, Path) and "://" not in str(folder)


def files_below(folder: Any) -> list[str]:
    """Return the paths of all files below a folder, relative to it; none where there is no folder."""
    if is_on_disk(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    base = folder.path.rstrip("/")
    if isinstance(store := getattr(folder.fs, "fs", None), FileSystem):
        # all at once: Google's store lists only those folders one by one that have a marker of their own
        found = store.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
        paths = [each.path for each in found if each.type == FileType.File]
    else:
        paths = folder.fs.find(base)
    return sorted(path.removeprefix(f"{base}/") for path in paths)


def read_bytes(path: Any, expected: int | None, cure: str = STAGE_AGAIN) -> bytes:
    """
    Return the content of a file.

    :param expected: its checksum; None for a file that was staged without.
    :param cure: what to do when it is not what was written.
    :raises ConfigurationError: if it is damaged or missing.
    """
    with intact(path, cure):
        try:
            content: bytes = path.read_bytes()
        except FileNotFoundError as error:
            raise ConfigurationError(_refusal(path, "is missing", cure)) from error
        if expected is not None and checksum(content) != expected:
            raise _DamagedError
        return content


@contextmanager
def intact(path: Any, cure: str = STAGE_AGAIN) -> Iterator[None]:
    """
    Say which file is damaged and what to do, or that the store refuses or does not answer.

    :raises ConfigurationError: if what is read inside is not what was written, or may not be read.
    :raises TransientError: if the store does not answer.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (*_DAMAGED, OSError) as error:
        if answered := error_of_store(error, path, "staging_path (of a stage, stage_path)"):
            raise answered from error
        # Arrow reports what it cannot read as an error of the system, without a number of the system's
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ConfigurationError(_refusal(path, "is damaged", cure)) from error


def _refusal(path: Any, state: str, cure: str) -> str:
    return f"The staged file {path} {state}, {cure}"
