"""
Columns that no schema declares: every value exactly, in the table's column or in a variant column beside it.

The first values of a column decide its type. A value that this type holds exactly goes there (118.0 into a column of
integers), any other into a variant column that is named as dlt names it: ``filtered__v_double``. JSON text of nested
values is a type of its own here (:data:`JSON`), though tables keep it as text.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exact_json import ExactNumber
from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import DECIMAL, TIMESTAMP
from airflow_provider_phlo.schemas.conversion.casts import convert_column
from airflow_provider_phlo.schemas.conversion.exact import assign, fits_all, is_number, wider
from airflow_provider_phlo.schemas.conversion.nested import assign_nested
from airflow_provider_phlo.schemas.conversion.storable import (
    Array,
    Values,
    as_text,
    decode,
    nested_as_json,
    storable,
    storable_type,
)
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, NESTED, is_missing

BEYOND_LONG = pa.decimal128(38, 0)
NAIVE = pa.timestamp("us")
# text that holds nested values as JSON
JSON = pa.json_(pa.string())
_LONGEST_DECIMAL = 38
_FAMILIES = (bool, int, float, str, bytes, decimal.Decimal, datetime.datetime, datetime.date, datetime.time)


class Piece(NamedTuple):
    """
    Some values of a column, all of one type; NULL where the column's value has another type.

    :param array: as long as the column.
    :param kind: the type of the array, or :data:`JSON` for text that holds nested values.
    """

    array: Array
    kind: pa.DataType


def type_undeclared(
    name: str,
    values: Values,
    known: Mapping[str, pa.DataType],
    hint: pa.DataType | None = None,
    taken: Collection[str] = (),
) -> dict[str, Piece]:
    """
    Return the columns that hold ``values``: ``name`` itself, and its variants where it cannot hold all of them.

    :param known: the types that columns have in the table.
    :param hint: the type that the source's hints give to the column: values are converted to it where they can be.
    :param taken: names that a variant cannot have, because the source or the schema has a column of that name.
    """
    kind = known.get(name)
    if kind is not None and pa.types.is_nested(kind):  # which no hint can describe
        return arrange(name, _pieces_beside(values, kind), known, taken)
    if hint is None:
        return arrange(name, pieces_of(values), known, taken)
    converted, bad = convert_column(values, hint)
    pieces = [Piece(without_nan(converted), hint)]
    if bad:
        some, odd = values.to_pylist() if isinstance(values, pa.ChunkedArray) else values, set(bad)
        pieces += pieces_of([value if row in odd else None for row, value in enumerate(some)])
    return arrange(name, pieces, {name: hint, **known}, taken)


def arrange(
    name: str, pieces: Sequence[Piece], known: Mapping[str, pa.DataType], taken: Collection[str] = ()
) -> dict[str, Piece]:
    """Return the columns that hold all values of ``pieces``, of which no two have a value in one row."""
    present = [piece for piece in pieces if piece.array.null_count < len(piece.array)]
    if not present:
        return {name: Piece(pieces[0].array, pieces[0].kind)} if pieces else {}
    target = target_type(present, known.get(name))
    if len(present) == 1 and present[0].kind == target:
        return {name: present[0]}
    fitting: list[Array] = []
    others: dict[str, list[Piece]] = {}
    for piece in present:
        fit, rest = assign(piece.array, piece.kind, target)
        if fit is not None:
            fitting.append(fit)
        for suffix, other in _variants(rest, piece.kind) if rest is not None else ():
            others.setdefault(suffix, []).append(other)
    columns = {name: Piece(_coalesce(fitting, len(present[0].array), target), target)}
    for suffix, some in others.items():
        columns |= beside(name, Piece(_coalesce([each.array for each in some]), some[0].kind), known, taken, suffix)
    return columns


def beside(
    name: str, piece: Piece, known: Mapping[str, pa.DataType], taken: Collection[str], suffix: str = "json"
) -> dict[str, Piece]:
    """Return ``piece`` as a variant column of ``name``, and the variants of that one if the table's differs."""
    variant = f"{name}__v_{suffix}"
    while variant in taken:
        variant = f"{variant}__v_{suffix}"
    return arrange(variant, [piece], known, taken)


def target_type(pieces: Sequence[Piece], known: pa.DataType | None) -> pa.DataType:
    """Return the type of the column: that in the table, widened as Iceberg allows, else that of the first value."""
    if known is not None:
        target = known if known == JSON else storable_type(known)
        for piece in pieces:
            target = wider(target, piece.array, piece.kind)
        return target
    first = min(pieces, key=lambda piece: pc.index(piece.array.is_valid(), True).as_py()).kind
    return common_number(pieces, first) if is_number(first) else first


def common_number(pieces: Sequence[Piece], first: pa.DataType) -> pa.DataType:
    """Return the type that holds all numbers of ``pieces`` exactly, else ``first``."""
    numbers = [piece for piece in pieces if is_number(piece.kind)]
    kinds = {piece.kind for piece in numbers}
    if len(kinds) == 1:
        return first
    if any(map(pa.types.is_floating, kinds)):
        wide = pa.float64()
    else:
        wide = DECIMAL if any(pa.types.is_decimal(kind) and kind.scale for kind in kinds) else BEYOND_LONG
    return wide if all(fits_all(each.array, each.kind, wide) for each in numbers) else first


# --- the types of values


def pieces_of(values: Values) -> list[Piece]:
    """Return ``values`` by type: nested ones as JSON text, what Iceberg has no type for as text."""
    if isinstance(values, pa.ChunkedArray):
        return _pieces_of_array(values)
    kinds = set(map(type, values))
    if ExactNumber in kinds:
        values = [value.plain if type(value) is ExactNumber else value for value in values]
        kinds = set(map(type, values))
    families = {_family(kind) for kind in kinds if kind is not type(None)}
    if len(families) > 1:
        # pandas writes NaN, NaT or NA for a gap among other values
        values = [None if value is None or is_missing(value) else value for value in values]
        families = {_family(type(value)) for value in values if value is not None}
    if len(families) <= 1:
        return _pieces_of_family(values, next(iter(families), type(None)))
    found: list[Piece] = []
    for family in sorted(families, key=str):
        some = [value if value is not None and _family(type(value)) is family else None for value in values]
        found += _pieces_of_family(some, family)
    return found


def _pieces_beside(values: Values, kind: pa.DataType) -> list[Piece]:
    """Return what a nested column of the table holds exactly as it is, and the rest by type."""
    held, rest = assign_nested(values, kind)
    found = [] if held is None else [Piece(held, kind)]
    return found if rest is None else [*found, *pieces_of(rest)]


def _pieces_of_array(values: pa.ChunkedArray) -> list[Piece]:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return pieces_of(pa.chunked_array([decode(values)]) if isinstance(values, pa.Array) else decode(values))
    if kind == JSON:
        return [Piece(values.cast(pa.string()), JSON)]
    if pa.types.is_nested(kind):
        return [Piece(nested_as_json(values), JSON)]
    if (pa.types.is_timestamp(kind) or pa.types.is_time(kind)) and kind.unit == "ns":
        return _pieces_of_nanoseconds(values)
    array = without_nan(storable(values))
    return [Piece(array, array.type)]


def _pieces_of_nanoseconds(values: pa.ChunkedArray) -> list[Piece]:
    """Return times to the microsecond; one that has nanoseconds stays text."""
    array = storable(values)
    exact = pc.fill_null(pc.equal(array.cast(values.type), values), True)
    if pc.all(exact).as_py():
        return [Piece(array, array.type)]
    longer = pc.if_else(exact, pa.scalar(None, values.type), values)
    # Python's times of day have no nanoseconds, as pandas' timestamps do
    text = longer.cast(pa.string()) if pa.types.is_time(values.type) else as_text(longer.to_pylist())
    return [Piece(pc.if_else(exact, array, pa.scalar(None, array.type)), array.type), Piece(text, text.type)]


def _family(kind: type) -> type:
    """Return the basic type that ``kind`` derives from: a library's own date-time is a date-time."""
    if issubclass(kind, NESTED):
        return dict
    return next((family for family in _FAMILIES if issubclass(kind, family)), kind)


def _pieces_of_family(values: Sequence[Any], family: type) -> list[Piece]:
    if family is dict:
        return [Piece(as_text(values), JSON)]
    if family is int:
        return _integers(values)
    if family is float:
        array = pa.array([None if value is None or value != value else float(value) for value in values], pa.float64())
        return [Piece(array, array.type)]
    if family is decimal.Decimal:
        return list(_decimals([None if value is None or is_missing(value) else value for value in values]))
    if family is datetime.datetime:
        return list(_date_times([None if value is None or is_missing(value) else value for value in values]))
    if family is datetime.time:
        return list(_times(values))
    return _others(values)


def _others(values: Sequence[Any]) -> list[Piece]:
    try:
        array = pa.array(values)
        if not pa.types.is_nested(array.type):
            return _pieces_of_array(pa.chunked_array([array]))
    except ARROW_ERRORS:
        text = as_text(values)
        return [Piece(text, text.type)]
    return [Piece(as_text(values), JSON)]


def _integers(values: Sequence[Any]) -> list[Piece]:
    try:
        return [Piece(pa.array(values, pa.int64()), pa.int64())]
    except (pa.ArrowInvalid, OverflowError):
        pass
    limit = 10**_LONGEST_DECIMAL
    wide = [decimal.Decimal(value) if value is not None and -limit < value < limit else None for value in values]
    found = [Piece(pa.array(wide, BEYOND_LONG), BEYOND_LONG)]
    longer = [value if value is not None and not -limit < value < limit else None for value in values]
    return [*found, Piece(as_text(longer), pa.string())] if any(value is not None for value in longer) else found


def _decimals(values: Sequence[decimal.Decimal | None]) -> Iterator[Piece]:
    """Yield decimals of one type whatever the digits in a batch; those with more digits than Iceberg has as text."""
    finite = [value if value is not None and value.is_finite() else None for value in values]
    endless = [float(value) if value is not None and not value.is_finite() else None for value in values]
    if any(value is not None for value in endless):
        yield Piece(pa.array(endless, pa.float64()), pa.float64())
    inferred = None
    try:
        inferred = pa.array(finite)
        array = inferred.cast(DECIMAL)
    except ARROW_ERRORS:
        array = inferred if inferred is not None and pa.types.is_decimal128(inferred.type) else None
    if array is not None:
        yield Piece(array, array.type)
        return
    array, long = convert_column(finite, DECIMAL)
    yield Piece(array, array.type)
    yield Piece(as_text([value if row in set(long) else None for row, value in enumerate(finite)]), pa.string())


def _date_times(values: Sequence[datetime.datetime | None]) -> Iterator[Piece]:
    """Yield date-times with a zone, those without one, and as text those that have nanoseconds."""
    fine = [value if not _has_nanoseconds(value) else None for value in values]
    some = [value for value in fine if value is not None]
    aware = [value if value is not None and value.tzinfo is not None else None for value in fine]
    naive = [value if value is not None and value.tzinfo is None else None for value in fine]
    if any(value.tzinfo is not None for value in some):
        utc = [None if value is None else _in_utc(value) for value in aware]
        yield Piece(pa.array(utc, TIMESTAMP), TIMESTAMP)
    if any(value.tzinfo is None for value in some) or not some:
        yield Piece(pa.array(naive, NAIVE), NAIVE)
    if any(map(_has_nanoseconds, values)):
        yield Piece(as_text([value if _has_nanoseconds(value) else None for value in values]), pa.string())


def _has_nanoseconds(value: Any) -> bool:
    return bool(getattr(value, "nanosecond", 0))


def _in_utc(value: datetime.datetime) -> datetime.datetime:
    return value.astimezone(datetime.UTC)


def _times(values: Sequence[datetime.time | None]) -> Iterator[Piece]:
    """Yield times of day; one with a zone, for which tables have no type, as text."""
    plain = [value if value is not None and value.tzinfo is None else None for value in values]
    yield Piece(pa.array(plain, pa.time64("us")), pa.time64("us"))
    if any(value is not None and value.tzinfo is not None for value in values):
        zoned = [value if value is not None and value.tzinfo is not None else None for value in values]
        yield Piece(as_text(zoned), pa.string())


def without_nan(values: Array) -> Array:
    """Turn NaN, with which data frames mark a gap, into NULL: a row means the same in whatever form it comes."""
    if not pa.types.is_floating(values.type) or not pc.any(pc.is_nan(values)).as_py():
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


# --- variants

_SUFFIXES = (
    (pa.types.is_boolean, "bool", pa.bool_()),
    (pa.types.is_integer, "bigint", pa.int64()),
    (pa.types.is_floating, "double", pa.float64()),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None, "timestamp", TIMESTAMP),
    (pa.types.is_timestamp, "timestamp_ntz", NAIVE),
    (pa.types.is_date, "date", pa.date32()),
    (pa.types.is_time, "time", pa.time64("us")),
    (pa.types.is_binary, "binary", pa.binary()),
)


def _variants(array: Array, kind: pa.DataType) -> Iterator[tuple[str, Piece]]:
    """Yield the variant columns for values that their column cannot hold: the type's name in dlt, and the values."""
    if kind == JSON:
        yield "json", Piece(array, JSON)
    elif pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        yield from _decimal_variants(array, kind)
    else:
        for matches, suffix, wanted in _SUFFIXES:
            if matches(kind):
                yield suffix, Piece(array.cast(wanted), wanted)
                return
        text = array if pa.types.is_string(kind) else as_text(array.to_pylist())
        yield "text", Piece(text, pa.string())


def variant_suffix(kind: pa.DataType) -> str:
    """Return what a variant for values of ``kind`` is named by: dlt's name of the type."""
    if kind == JSON:
        return "json"
    if pa.types.is_decimal(kind):
        return "decimal" if kind.scale else "wei"
    return next((suffix for matches, suffix, _ in _SUFFIXES if matches(kind)), "text")


def _decimal_variants(array: Array, kind: pa.DataType) -> Iterator[tuple[str, Piece]]:
    whole = pa.types.is_uint64(kind) or kind.scale == 0
    places = (("bigint", pa.int64()), ("wei", BEYOND_LONG)) if whole else (("decimal", DECIMAL),)
    rest: Array | None = array
    for suffix, wanted in places:
        if rest is None:
            return
        fit, rest = assign(rest, kind, wanted)
        if fit is not None:
            yield suffix, Piece(fit, wanted)
    if rest is not None:
        yield "text", Piece(as_text(rest.to_pylist()), pa.string())


def _coalesce(arrays: Sequence[Array], length: int = 0, kind: pa.DataType | None = None) -> Array:
    if not arrays:
        return pa.nulls(length, pa.string() if kind == JSON else kind)
    return arrays[0] if len(arrays) == 1 else pc.coalesce(*arrays)


def one_array(values: Values) -> Array:
    """Return ``values`` in one column, mixed ones as text: for what a schema converts once more."""
    pieces = [piece for piece in pieces_of(values) if piece.array.null_count < len(piece.array)]
    if len(pieces) == 1:
        return pieces[0].array
    if not pieces:
        return pa.nulls(len(values))
    numbers = all(is_number(piece.kind) for piece in pieces)
    kind = common_number(pieces, pieces[0].kind) if numbers else pa.string()
    if kind != pa.string() and all(fits_all(piece.array, piece.kind, kind) for piece in pieces):
        return arrange("", pieces, {"": kind})[""].array
    return as_text(values.to_pylist() if isinstance(values, pa.ChunkedArray) else values)


def require_one_type(columns: Mapping[str, Piece], name: str, declared: pa.DataType | None = None) -> None:
    """
    Refuse values for which ``name`` would need variants.

    :param declared: the type that a schema declares, if it does.
    :raises SchemaError: names the column, its type and the variants.
    """
    variants = [each for each in columns if each != name]
    if variants:
        count = sum(len(columns[each].array) - columns[each].array.null_count for each in variants)
        kind = declared or columns[name].kind
        raise SchemaError(
            f"column {name!r} has {count} value(s) that its type {kind} cannot hold exactly (they would "
            f"go to {', '.join(variants)}): declare the column in the schema, convert it in a transform, or set "
            "[phlo] undeclared_types = variant."
        )
