"""The table properties that writing depends on: what they may say, whoever has set them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from pyiceberg.io.pyarrow import match_metrics_mode
from pyiceberg.table import Table
from pyiceberg.table.name_mapping import NameMapping

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs.file_io import code_of_table

TARGET_FILE_BYTES = "write.target-file-size-bytes"
ROW_GROUP_LIMIT = "write.parquet.row-group-limit"
PARQUET_CODEC = "write.parquet.compression-codec"
PARQUET_LEVEL = "write.parquet.compression-level"
AVRO_CODEC = "write.avro.compression-codec"
NAME_MAPPING = "schema.name-mapping.default"

PARQUET_CODECS = ("zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed")
_OTHER_PARQUET_CODECS = ("lz4_raw", "none")
_WITHOUT_LEVEL = ("snappy", "uncompressed", "none")
# Iceberg's name -> PyIceberg's
_AVRO_CODECS = {"uncompressed": "null", "zstd": "zstd", "gzip": "gzip", "snappy": "snappy", "deflate": "deflate"}
_METRICS = ("write.metadata.metrics.default", "write.metadata.metrics.column.")
_MOST = 2**63
_TRUTHS = frozenset({"y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0"})
_WHOLE_NUMBER = re.compile(r"[0-9]{1,19}")


def _is_number(value: str, least: int = 1) -> bool:
    return bool(_WHOLE_NUMBER.fullmatch(value)) and least <= int(value) < _MOST


def _is_metrics_mode(value: str) -> bool:
    try:
        match_metrics_mode(value)
    except ValueError:
        return False
    return True


_ABOVE_ZERO = (_is_number, "a whole number above 0")
_TRUTH = (lambda value: value.lower() in _TRUTHS, "true or false")
_RULES: Mapping[str, tuple[Callable[[str], bool], str]] = {
    TARGET_FILE_BYTES: _ABOVE_ZERO,
    ROW_GROUP_LIMIT: _ABOVE_ZERO,
    "write.parquet.page-size-bytes": _ABOVE_ZERO,
    # Arrow writes for ever with pages of no row
    "write.parquet.page-row-limit": _ABOVE_ZERO,
    "write.parquet.dict-size-bytes": _ABOVE_ZERO,
    "commit.manifest.target-size-bytes": _ABOVE_ZERO,
    "write.metadata.previous-versions-max": (lambda value: _is_number(value, 0), "a whole number"),
    "write.metadata.delete-after-commit.enabled": _TRUTH,
    "write.object-storage.enabled": _TRUTH,
    "write.object-storage.partitioned-paths": _TRUTH,
    PARQUET_CODEC: (
        lambda value: value.lower() in (*PARQUET_CODECS, *_OTHER_PARQUET_CODECS),
        f"one of {', '.join(PARQUET_CODECS)}",
    ),
    PARQUET_LEVEL: (lambda value: bool(re.fullmatch(r"-?[0-9]{1,3}", value)), "a whole number"),
    AVRO_CODEC: (lambda value: value.lower() in _AVRO_CODECS, f"one of {', '.join(_AVRO_CODECS)}"),
}


def malformed(properties: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with each property that says what nobody could do; an empty one stands for the default."""
    for name, (is_right, what) in _RULES.items():
        value = str(properties.get(name) or "").strip()
        if value and not is_right(value):
            yield f"{name}={value!r} is not {what}"
    for name, value in properties.items():
        if name.startswith(_METRICS) and not _is_metrics_mode(str(value)):
            yield f"{name}={value!r} is not none, counts, truncate(length) or full"
    if code := code_of_table(properties):
        yield code
    level = str(properties.get(PARQUET_LEVEL) or "")
    if str(properties.get(PARQUET_CODEC)).lower() == "gzip" and level and level not in {*"123456789"}:
        yield f"{PARQUET_LEVEL}={level!r} is not a level of gzip: 1 to 9"


def require_usable_properties(table: Table) -> None:
    """
    Check that the table's properties say what its files and commits can be written by.

    :raises ConfigurationError: if not, by name; nothing has been written then.
    """
    problems = list(malformed(table.properties))
    if problems:
        raise _unusable(table, problems)


def name_mapping(table: Table) -> NameMapping | None:
    """
    Return which column is which in files without field ids, None if the table does not say.

    :raises ConfigurationError: if it says it in a form that is not Iceberg's.
    """
    try:
        return table.name_mapping()
    except ValueError as error:
        raise _unusable(table, [f"{NAME_MAPPING} is not a name mapping"]) from error


def whole_number(properties: Mapping[str, str], name: str, default: int) -> int:
    """Return a property that :func:`require_usable_properties` has checked."""
    return int(properties.get(name) or default)


def avro_codec(table: Table) -> str:
    """Return how manifests are compressed, as PyIceberg calls it."""
    return _AVRO_CODECS[(table.properties.get(AVRO_CODEC) or "gzip").strip().lower()]


def takes_level(codec: str) -> bool:
    """Return whether a Parquet codec has levels: for others Iceberg ignores the property, and Arrow refuses it."""
    return codec.lower() not in _WITHOUT_LEVEL


def may_collect(properties: Mapping[str, str]) -> bool:
    """Return whether files that no snapshot needs may be removed; what is not ``true`` means no, as for Iceberg."""
    return (properties.get("gc.enabled") or "true").strip().lower() == "true"


def _unusable(table: Table, problems: list[str]) -> ConfigurationError:
    return ConfigurationError(
        f"{'.'.join(table.name())} has properties that it cannot be used with: {'; '.join(problems)}. Set them right "
        "with the engine that has set them (ALTER TABLE … SET TBLPROPERTIES), or remove them. A retry does not help."
    )
