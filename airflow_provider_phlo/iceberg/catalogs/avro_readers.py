"""
The readers of Avro files, made once for each schema.

PyIceberg makes them anew for every manifest and manifest list, which takes longer than to read a small one: 0.14 ms
with readers that are there already, instead of 1.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from enum import Enum
from functools import cache, lru_cache
from typing import Any

from pyiceberg.avro import file
from pyiceberg.avro.reader import Reader
from pyiceberg.avro.resolver import resolve_reader
from pyiceberg.schema import Schema
from pyiceberg.typedef import EMPTY_DICT, StructProtocol
from pyiceberg.types import IcebergType
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

# readers of later releases may keep something of what they have read: then they are not for several files
_KNOWN = "0.12."
_INSTALLED = importlib.metadata.version("pyiceberg")
# the schemas of a manifest: one per partition spec and version of the format
_MOST = 256
_SCHEMA_KEY = "avro.schema"

_original_schema = file.AvroFileHeader.get_schema
# by the identity of both schemas, which are kept with it so that no other gets the same
_readers: dict[tuple[Any, ...], tuple[Any, Any, Reader]] = {}


@cache
def keep_readers() -> None:
    """Let PyIceberg keep what it reads Avro files with, in this process; to call it again changes nothing."""
    if not _INSTALLED.startswith(_KNOWN):
        return
    file.AvroFileHeader.get_schema = _schema  # type: ignore[method-assign, assignment]
    file.resolve_reader = _reader  # type: ignore[attr-defined]


def _schema(header: file.AvroFileHeader) -> Schema:
    text = header.meta.get(_SCHEMA_KEY)
    return _original_schema(header) if text is None else _schema_of(text)


@lru_cache(maxsize=_MOST)
def _schema_of(text: str) -> Schema:
    return AvroSchemaConversion().avro_to_iceberg(json.loads(text))


def _reader(
    file_schema: Schema | IcebergType,
    read_schema: Schema | IcebergType,
    read_types: dict[int, Callable[..., StructProtocol]] = EMPTY_DICT,
    read_enums: dict[int, Callable[..., Enum]] = EMPTY_DICT,
) -> Reader:
    key = (id(file_schema), id(read_schema), *read_types.items(), *read_enums.items())
    found = _readers.get(key)
    if found is None:
        if len(_readers) >= _MOST:
            _readers.clear()
        found = (file_schema, read_schema, resolve_reader(file_schema, read_schema, read_types, read_enums))
        _readers[key] = found
    return found[2]
