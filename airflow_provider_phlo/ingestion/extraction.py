"""Draw rows from whatever a source function returns: dlt drives it; dlt's state goes in and comes out as text."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import dlt
import pyarrow as pa
import requests
from dlt.common.exceptions import DltException
from dlt.common.json import json as dlt_json
from dlt.common.pipeline import TPipelineState
from dlt.extract import DltResource, DltSource
from dlt.extract.items import DataItemWithMeta

from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    PhloError,
    SchemaError,
    SourceRejectedError,
    SourceUnavailableError,
)
from airflow_provider_phlo.ingestion import dlt_features, staged_batches
from airflow_provider_phlo.ingestion.records import record_of
from airflow_provider_phlo.schemas.conversion.records import Malformed
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, is_missing

log = logging.getLogger(__name__)

Chunk: TypeAlias = "list[Mapping[str, Any]] | pa.Table"
# bytes of text in the records of a chunk: the number of rows says little where one of them holds megabytes
CHUNK_BYTES = 64 * 1024 * 1024
_MEMBER_BYTES = 200
# records that are drawn before their size is checked
PIECE = 100


@contextmanager
def dlt_state(table: str, pipelines_dir: Path, state: str) -> Iterator[TPipelineState]:
    """
    Let dlt read and change ``state`` while a source runs; nothing of it stays on this worker.

    :param state: the state as :func:`state_text` returned it; empty for none.
    """
    folder = pipelines_dir / uuid.uuid4().hex  # two attempts of one run may meet here
    with staged_batches.disk_errors(folder):
        pipeline = dlt.pipeline(
            pipeline_name=re.sub(r"\W", "_", table.replace(".", "__")), pipelines_dir=str(folder), dataset_name="staged"
        )
        try:
            with pipeline.managed_state() as managed:
                managed.pop("sources", None)
                if state:
                    managed["sources"] = dlt_json.typed_loads(state)
                yield managed
        finally:
            pipeline.deactivate()
            staged_batches.remove(folder)


def state_text(managed: TPipelineState) -> str:
    """Return the state that sources keep, as dlt's own JSON; empty when they keep none."""
    sources = managed.get("sources")
    return dlt_json.typed_dumps(sources) if sources else ""


@contextmanager
def plain_errors(table: str) -> Iterator[None]:
    """
    Unwrap an error that a source raised on purpose from dlt's errors, and leave the URL out of an HTTP error's message.

    :raises SourceRejectedError: for an HTTP answer that needs a person.
    :raises SourceUnavailableError: for one that a retry may change, or when there was no answer.
    """
    try:
        yield
    except (requests.RequestException, DltException) as error:
        causes = list(_causes(error))
        meant = next((cause for cause in causes if isinstance(cause, PhloError)), None)
        if meant is not None:
            raise meant from meant.__cause__  # without dlt's wrapping
        failed = next((cause for cause in causes if isinstance(cause, requests.RequestException)), None)
        if failed is None:
            raise
        # its message shows the URL, whose query may hold a token
        raise _request_error(table, failed) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _request_error(table: str, error: requests.RequestException) -> PhloError:
    url = urlsplit(getattr(error.request, "url", None) or "")
    where = f"{table}: {url.hostname}{url.path}"
    if error.response is None:
        return SourceUnavailableError(f"{where} did not answer ({type(error).__name__}): is it up, is the host right?")
    status = error.response.status_code
    if 400 <= status < 500 and status not in (408, 425, 429):
        return SourceRejectedError(f"{where} answered {status}: check the credentials and the address.")
    return SourceUnavailableError(f"{where} answered {status}; a later attempt may succeed.")


def chunks(yielded: Any, table: str, size: int, note: Callable[[Any], None] = lambda mark: None) -> Iterator[Chunk]:
    """
    Yield lists of records and Arrow tables of at most ``size`` rows, in arrival order; fewer rows if they are large.

    :param yielded: a dlt source or resource, an iterable of records, lines of JSON, pages of them, Arrow tables or data
        frames, or one of these. What stands in place of a record (a number, a broken line) is a
        :class:`~airflow_provider_phlo.ingestion.records.Malformed` one.
    :param table: named in errors.
    :param note: is shown what dlt's ``mark`` says of an item; may raise.
    :raises ConfigurationError: if it is something else.
    """
    with plain_errors(table):
        parts = (part for item in _items(yielded, table, note) for part in _parts(item, table))
        # small tables of one schema are put together: each chunk costs a validation and a file
        for schema, group in groupby(parts, key=lambda part: part.schema if isinstance(part, pa.Table) else None):
            cut = _lists if schema is None else _tables
            yield from cut(group, size)


def _items(yielded: Any, table: str, note: Callable[[Any], None]) -> Iterator[Any]:
    """Yield what a source yields, one record or one table at a time."""
    if isinstance(yielded, DltSource):
        yielded = _only_resource(yielded, table)
    if isinstance(yielded, DltResource) and yielded.write_disposition != "append":
        log.info(
            "%s: write_disposition=%r of the dlt resource has no effect: merge_strategy decides",
            table,
            yielded.write_disposition,
        )
    if _is_record(yielded) or (_is_tabular(yielded) and not isinstance(yielded, pa.RecordBatchReader)):
        yielded = [yielded]
    if not hasattr(yielded, "__iter__") or isinstance(yielded, (str, bytes, bytearray)):
        raise ConfigurationError(
            f"{table}: the source returned a {type(yielded).__name__}: return a dlt source or resource, an iterable of "
            "records, Arrow tables or data frames, or None."
        )
    is_page = isinstance(yielded, (list, tuple))
    for item in dlt_features.watched(yielded, note):
        if isinstance(item, DataItemWithMeta):  # marked outside a dlt resource
            note(item.meta)
            item = item.data
        if isinstance(item, (list, tuple)) and not _is_record(item):
            yield from _page(item, table)
        elif item is not None or is_page:
            yield item


def _page(items: list[Any] | tuple[Any, ...], table: str) -> list[Any] | tuple[Any, ...]:
    """Return the records of a page; a tuple of values, as a database cursor returns rows, is refused."""
    if isinstance(items, tuple) and not all(_is_record(item) or _is_tabular(item) for item in items):
        raise ConfigurationError(
            f"{table}: the source yielded a tuple of {len(items)} value(s), which has no names: yield mappings, e.g. "
            "dict(zip(names, row)) with names = [column[0] for column in cursor.description]."
        )
    return items


def _only_resource(source: DltSource, table: str) -> DltResource:
    names = list(source.selected_resources)
    if len(names) != 1:
        raise ConfigurationError(
            f"{table}: the source {source.name!r} has the resources {', '.join(names) or 'none'}; "
            f"a table takes one: return source.with_resources({(names or ['name'])[0]!r})."
        )
    return source.resources[names[0]]


def _is_record(item: Any) -> bool:
    """Return whether ``item`` is one record: a mapping, a named tuple, a dataclass or a Pydantic model."""
    if isinstance(item, Mapping):
        return True
    if isinstance(item, type):
        return False
    return hasattr(item, "_asdict") or hasattr(item, "model_dump") or dataclasses.is_dataclass(item)


def _is_tabular(item: Any) -> bool:
    is_pandas = type(item).__module__.partition(".")[0] == "pandas" and hasattr(item, "columns")
    return is_pandas or hasattr(item, "__arrow_c_stream__") or isinstance(item, pa.RecordBatch)


# JSON values that may come in place of a record, and lines of JSON
_JSON_VALUES = (str, bytes, bytearray, bool, int, float, list, type(None))


def _parts(item: Any, table: str) -> Iterator[Mapping[str, Any] | pa.Table]:
    """Yield ``item`` as a mapping or an Arrow table; a frame of mixed values as mappings."""
    if isinstance(item, (str, bytes, bytearray)) and not item.strip():
        return  # an empty line between lines of JSON
    if isinstance(item, (Mapping, *_JSON_VALUES)):
        yield record_of(item)
    elif isinstance(item, pa.RecordBatch):
        yield pa.Table.from_batches([item])
    elif type(item).__module__.partition(".")[0] == "pandas" and hasattr(item, "columns"):
        yield from _parts_of_pandas(item, table)
    elif _is_record(item):
        yield _mapping(item)
    else:
        yield _table(item, table)


def _table(item: Any, table: str) -> pa.Table:
    """Return a data frame of any library that speaks Arrow as a table; a single column (a series) is refused."""
    if hasattr(item, "__arrow_c_stream__"):
        if type(item).__module__.partition(".")[0] == "polars" and hasattr(item, "columns"):
            _require_values(item, table)
        with suppress(pa.ArrowInvalid):
            return pa.table(item)
    raise ConfigurationError(
        f"{table}: the source yielded a {type(item).__name__}: yield records (mappings, dataclasses, Pydantic models), "
        "lists of them, Arrow tables or data frames."
    )


def _require_values(frame: Any, table: str) -> None:
    """Refuse a Polars frame with types that Arrow lacks: of objects, Polars would hand on addresses in memory."""
    odd = [name for name, kind in frame.schema.items() if any(odd in str(kind) for odd in ("Object", "Int128"))]
    if odd:
        raise SchemaError(
            f"{table}: the source yielded a data frame whose column {odd[0]!r:.80} has the type "
            f"{frame.schema[odd[0]]}, which Arrow does not have: cast it, to pl.String for one, before it is yielded."
        )


def _parts_of_pandas(frame: Any, table: str) -> Iterable[Mapping[str, Any] | pa.Table]:
    if not frame.columns.is_unique:
        raise SchemaError(f"{table}: the source yielded a data frame with two columns of the same name: rename one.")
    frame = _with_named_index(frame, table)
    if not _is_of_plain_columns(frame):
        return _records_of(frame)
    try:
        return [pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)]
    except (*ARROW_ERRORS, TypeError):  # a column of mixed values, or a sparse one, has no Arrow type
        return _records_of(frame)


def _with_named_index(frame: Any, table: str) -> Any:
    """Return a data frame with a column for each level of its index that has a name; one without is only a count."""
    names = [name for name in frame.index.names if name is not None]
    # set_index(…, drop=False) leaves an index that is a column as well
    repeated = {name for name in names if names.count(name) > 1}
    others = [name for name in names if name in repeated or not _is_column(frame, name)]
    clashing = [name for name in others if name in repeated or name in frame.columns]
    if clashing:
        raise SchemaError(
            f"{table}: the source yielded a data frame whose index has a level {clashing[0]!r:.80}, as have its "
            "columns or another level, of other values: rename one."
        )
    return frame.reset_index(level=others) if others else frame


def _is_column(frame: Any, level: Any) -> bool:
    return level in frame.columns and bool(frame.index.get_level_values(level).equals(frame.set_index(level).index))


# of which Arrow makes what records make; of others, it may cut digits, unite types or fill in members
_PLAIN_OBJECTS = frozenset({str, bool, int, bytes, datetime.date})


def _is_of_plain_columns(frame: Any) -> bool:
    """Return whether no column of objects holds nested values, values of several types, or times and decimals."""
    for column in (frame[name] for name, kind in frame.dtypes.items() if kind.kind == "O"):
        kinds = set(map(type, column)) - {type(None)}
        if not kinds <= _PLAIN_OBJECTS:  # gaps, perhaps
            kinds = {type(value) for value in column if not is_missing(value)} - {type(None)}
        if len(kinds) > 1 or not kinds <= _PLAIN_OBJECTS:
            return False
    return True


def _records_of(frame: Any) -> list[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = frame.to_dict("records")
    return records


def _mapping(record: Any) -> Mapping[str, Any]:
    if hasattr(record, "model_dump"):
        values: Mapping[str, Any] = record.model_dump()
    else:
        values = record._asdict() if hasattr(record, "_asdict") else dataclasses.asdict(record)
    return values


def _lists(records: Iterator[Any], size: int) -> Iterator[list[Mapping[str, Any]]]:
    held: list[Mapping[str, Any]] = []
    weight = 0
    while some := list(islice(records, min(size - len(held), PIECE))):
        held += some
        weight += sum(map(_weight, some))
        if len(held) == size or weight >= CHUNK_BYTES:
            yield held
            held, weight = [], 0
    if held:
        yield held


def _weight(record: Mapping[str, Any]) -> int:
    """Return roughly how many bytes a record has; of nested values, only the first level and the depth count."""
    total = 0
    for member in (record.raw,) if isinstance(record, Malformed) else record.values():
        kind = type(member)
        if kind is str or kind is bytes:
            total += len(member)
        elif kind is dict or kind is list:
            total += _nested_weight(member)
    return total


def _nested_weight(nested: Any) -> int:
    total = 0
    for member in nested.values() if type(nested) is dict else nested:
        total += len(member) if type(member) is str else _MEMBER_BYTES
    while (type(nested) is dict or type(nested) is list) and nested:
        total += _MEMBER_BYTES
        nested = next(iter(nested.values() if type(nested) is dict else nested))
    return total


def _tables(tables: Iterator[Any], size: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= size:
            whole = pa.concat_tables(held)
            full = len(whole) - len(whole) % size
            yield from (whole.slice(start, size) for start in range(0, full, size))
            held = [whole.slice(full)]
        elif sum(each.nbytes for each in held) >= CHUNK_BYTES:
            yield pa.concat_tables(held)
            held = [table.slice(0, 0)]
    rest = pa.concat_tables(held)
    if len(rest):
        yield rest
