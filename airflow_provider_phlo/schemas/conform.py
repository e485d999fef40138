"""
Turn what a source yields into Arrow tables whose declared columns have their declared types.

A value that cannot be converted becomes NULL and a :class:`Failure`; undeclared columns get the type of their values.
Names follow dlt's naming convention. Nested values that no schema declares become JSON text with sorted keys.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.row_hash import canonical_json
from airflow_provider_phlo.schemas.columns import Column, ModelColumns


@dataclass(frozen=True)
class Failure:
    """
    Rows that break one rule.

    :param rows: their positions, ascending; None when the rule is about the batch as a whole.
    """

    column: str
    check: str
    rows: tuple[int, ...] | None


Records = Sequence[Mapping[str, Any]]


def conform(
    chunk: Records | pa.Table,
    declared: ModelColumns | None,
    normalize: Callable[[str], str],
    known: Mapping[str, pa.DataType] | None = None,
) -> tuple[pa.Table, list[Failure]]:
    """
    Return ``chunk`` as a table of normalised names and declared types.

    :param chunk: records, or an Arrow table.
    :param declared: the columns of the validation schema; None declares nothing.
    :param normalize: dlt's naming convention.
    :param known: types that undeclared columns already have in the table; kept where the values allow it.
    :returns: the table, and the values that could not be converted; such rows hold NULL there.
    :raises SchemaError: if two source names become one.
    """
    count = len(chunk)
    source = _columns_of_table(chunk) if isinstance(chunk, pa.Table) else _columns_of_records(chunk)
    names = _normalized(source, normalize)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    failures: list[Failure] = []
    for name, original in names.items():
        values = source[original]
        if declared is not None and name in declared:
            array, bad = _converted(values, declared[name].type)
            if bad:
                failures.append(Failure(name, f"is_{_type_name(declared[name].type)}", tuple(bad)))
        else:
            array = _as_known(values, (known or {}).get(name))
        if not pa.types.is_null(array.type):
            columns[name] = array
    for column in declared.columns if declared else ():
        _complete(columns, column, count, failures)
    return pa.table(columns) if columns else pa.table({"": pa.nulls(count)}).select([]), failures


def _complete(columns: dict[str, Any], column: Column, count: int, failures: list[Failure]) -> None:
    """Add a declared column that the source lacks, and fill in its default."""
    if column.name not in columns:
        columns[column.name] = pa.nulls(count, column.type)
        if not column.nullable and column.default is None and count:
            failures.append(Failure(column.name, "column_in_data", tuple(range(count))))
    if column.default is not None:
        columns[column.name] = pc.fill_null(columns[column.name], pa.scalar(column.default, column.type))


def _columns_of_table(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names}


def _columns_of_records(records: Records) -> dict[str, list[Any]]:
    names: dict[str, None] = {}
    keys_seen: set[tuple[str, ...]] = set()
    for record in records:
        keys = tuple(record)
        if keys not in keys_seen:
            keys_seen.add(keys)
            names.update(dict.fromkeys(keys))
    return {name: [record.get(name) for record in records] for name in names}


def _normalized(source: Iterable[str], normalize: Callable[[str], str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for original in source:
        name = normalize(original)
        if name in names:
            raise SchemaError(
                f"Source columns {names[name]!r} and {original!r} are both named {name!r} in the table: rename one."
            )
        names[name] = original
    return names


def _inferred(values: Sequence[Any] | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return ``values`` in a type of their own; nested ones as JSON text, a mixture as text."""
    if isinstance(values, pa.ChunkedArray):
        return _as_json(values.to_pylist()) if pa.types.is_nested(values.type) else _plain(values)
    kinds = {type(value) for value in values}
    kinds.discard(type(None))
    if kinds & {dict, list, tuple}:
        return _as_json(values)
    if kinds <= {int, float}:
        # an integer beyond 2**63 needs a float too
        return _first_that_fits(values, (pa.int64(), pa.float64()) if float not in kinds else (pa.float64(),))
    try:
        return _plain(pa.array(values))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _as_known(values: Sequence[Any] | pa.ChunkedArray, known: pa.DataType | None) -> pa.Array | pa.ChunkedArray:
    """Return ``values`` in the type of the table's column if all of them fit, else in their own."""
    inferred = _inferred(values)
    if known is None or inferred.type == known or pa.types.is_null(inferred.type) or pa.types.is_nested(known):
        return inferred
    converted, bad = _converted(values, known)
    return inferred if bad else converted


def _first_that_fits(values: Sequence[Any], types: Iterable[pa.DataType]) -> pa.Array:
    if all(value is None for value in values):
        return pa.nulls(len(values))
    for kind in types:
        try:
            return pa.array(values, kind)
        except (pa.ArrowInvalid, OverflowError):
            continue
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Drop what Iceberg has no type for: dictionaries, nanoseconds, half floats, large and view types."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        zone = "UTC" if kind.tz else None
        return pc.cast(values, pa.timestamp("us", zone), safe=False)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    if pa.types.is_large_binary(kind):
        return values.cast(pa.binary())
    if pa.types.is_date64(kind):
        return values.cast(pa.date32())
    return values.cast(pa.float32()) if pa.types.is_float16(kind) else values


def _as_json(values: Sequence[Any]) -> pa.Array:
    return pa.array(
        [None if value is None else value if isinstance(value, str) else canonical_json(value) for value in values],
        pa.string(),
    )


def _converted(
    values: Sequence[Any] | pa.ChunkedArray, kind: pa.DataType
) -> tuple[pa.Array | pa.ChunkedArray, list[int]]:
    """Return ``values`` as ``kind`` and the positions of those that are not."""
    if isinstance(values, pa.ChunkedArray):
        if values.type == kind:
            return values, []
        if not pa.types.is_nested(values.type) and _casts_plainly(values.type, kind):
            try:
                return _plain_cast(values, kind), []
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass
        values = values.to_pylist()
    elif _holds_only(values, kind):
        try:
            return pa.array(values, kind), []
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    return _converted_one_by_one(values, kind)


def _casts_plainly(source: pa.DataType, kind: pa.DataType) -> bool:
    """Return whether Arrow's own cast means what :data:`_CONVERTERS` mean: no number becomes a time or a truth."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return bool(pa.types.is_temporal(source))
    if pa.types.is_boolean(kind) or pa.types.is_boolean(source):
        return bool(source == kind)
    return not (pa.types.is_temporal(source) and not pa.types.is_string(kind))


def _plain_cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
        return pc.assume_timezone(values, "UTC") if values.type.tz is None and kind.tz else values.cast(kind)
    return values.cast(kind)


_EXACT_TYPES: tuple[tuple[Callable[[pa.DataType], bool], set[type]], ...] = (
    (pa.types.is_string, {str}),
    (pa.types.is_integer, {int}),
    (pa.types.is_floating, {float, int}),
    (pa.types.is_boolean, {bool}),
    (pa.types.is_binary, {bytes}),
)


def _holds_only(values: Sequence[Any], kind: pa.DataType) -> bool:
    """Return whether every value already is of the Python type that ``kind`` stands for."""
    kinds = {type(value) for value in values}
    kinds.discard(type(None))
    return any(matches(kind) and kinds <= allowed for matches, allowed in _EXACT_TYPES)


def _converted_one_by_one(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    convert = _converter(kind)
    good: list[Any] = []
    bad: list[int] = []
    for position, value in enumerate(values):
        try:
            good.append(None if value is None else convert(value))
        except (ValueError, TypeError, OverflowError, ArithmeticError):
            good.append(None)
            bad.append(position)
    try:
        return pa.array(good, kind), bad
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _arrow_one_by_one(good, kind, bad)


def _arrow_one_by_one(values: list[Any], kind: pa.DataType, bad: list[int]) -> tuple[pa.Array, list[int]]:
    """Find the values that Python accepts and Arrow does not: out of range, too many digits, wrong nesting."""
    for position, value in enumerate(values):
        try:
            pa.scalar(value, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            values[position] = None
            bad.append(position)
    return pa.array(values, kind), sorted(bad)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return canonical_json(value)
    return value.isoformat() if isinstance(value, (datetime.datetime, datetime.date)) else str(value)


def _integer(value: Any) -> int:
    if isinstance(value, str):
        return int(value)
    number = int(value)
    if isinstance(value, bool) or number != value:
        raise ValueError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _boolean(value: Any) -> bool:
    found = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def _timestamp(value: Any) -> datetime.datetime:
    """Read a date-time; one without a zone is UTC. A bare number is refused: its unit is anybody's guess."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime):
        raise TypeError
    return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)


def _date(value: Any) -> datetime.date:
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    if isinstance(value, datetime.datetime):
        return value.date()
    if not isinstance(value, datetime.date):
        raise TypeError
    return value


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool):
        raise TypeError
    number = decimal.Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise ValueError
    return number


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


_CONVERTERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Any], str], ...] = (
    (pa.types.is_string, _text, "text"),
    (pa.types.is_integer, _integer, "integer"),
    (pa.types.is_floating, _float, "number"),
    (pa.types.is_boolean, _boolean, "boolean"),
    (pa.types.is_timestamp, _timestamp, "timestamp"),
    (pa.types.is_date, _date, "date"),
    (pa.types.is_decimal, _decimal, "decimal"),
    (pa.types.is_binary, _bytes, "bytes"),
    (pa.types.is_nested, lambda value: value, "nested value"),
)


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    return next(convert for matches, convert, _ in _CONVERTERS if matches(kind))


def _type_name(kind: pa.DataType) -> str:
    return next(name for matches, _, name in _CONVERTERS if matches(kind)).replace(" ", "_")
