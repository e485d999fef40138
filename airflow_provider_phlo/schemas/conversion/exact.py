"""Which values a type holds exactly: numbers by their value, everything else only in a type of its own kind."""

from __future__ import annotations

import decimal
import math
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.schemas.conversion.storable import Array
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, CONVERSION_ERRORS


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def assign(array: Array, kind: pa.DataType, target: pa.DataType) -> tuple[Array | None, Array | None]:
    """
    Split ``array`` into the values that ``target`` holds exactly, as ``target``, and the others.

    :param kind: the type of the values; that of the array, or JSON for nested values as text.
    :returns: two columns, each as long as ``array`` with NULL for the values of the other; None if it would be empty.
    """
    if kind == target:
        return array, None
    if is_number(kind) and is_number(target):
        return _assign_numbers(array, target)
    if isinstance(target, pa.UuidType) and pa.types.is_string(kind):
        return _assign_each(array, target, _uuid)
    if pa.types.is_fixed_size_binary(target) and pa.types.is_binary(kind):
        width = target.byte_width
        return _assign_each(array, target, lambda value: value if len(value) == width else None)
    return None, array


def fits_all(array: Array, kind: pa.DataType, target: pa.DataType) -> bool:
    """Return whether ``target`` holds all values of ``array`` exactly."""
    return assign(array, kind, target)[1] is None


def wider(target: pa.DataType, array: Array, kind: pa.DataType) -> pa.DataType:
    """Return ``target``, or the type that Iceberg widens it to if that holds more of the values exactly."""
    if pa.types.is_int32(target) and (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        wide: pa.DataType = pa.int64()
    elif pa.types.is_float32(target) and pa.types.is_floating(kind):
        wide = pa.float64()
    elif pa.types.is_decimal(target) and target.precision < 38 and is_number(kind):
        wide = pa.decimal128(38, target.scale)
    else:
        return target
    rest = assign(array, kind, target)[1]
    if rest is None:
        return target
    return wide if assign(rest, kind, wide)[0] is not None else target


def _assign_numbers(array: Array, target: pa.DataType) -> tuple[Array | None, Array | None]:
    whole = _cast_exactly(array, target)
    if whole is not None:
        return whole, None
    return _assign_each(array, target, _number_for(target))


def _cast_exactly(array: Array, target: pa.DataType) -> Array | None:
    """Return all of ``array`` as ``target``, or None where Arrow is not certain that nothing changes."""
    kind = array.type
    if (pa.types.is_floating(kind) and pa.types.is_decimal(target)) or (
        pa.types.is_decimal(kind) and pa.types.is_floating(target)
    ):
        return None
    if pa.types.is_floating(kind) and not pa.types.is_floating(target) and _has_negative_zero(array):
        return None
    try:
        found = array.cast(target)
        return found if pc.fill_null(pc.all(pc.equal(found.cast(kind), array)), True).as_py() else None
    except ARROW_ERRORS:
        return None


def _has_negative_zero(array: Array) -> bool:
    zeros = array.filter(pc.equal(array, 0.0))
    return len(zeros) > 0 and bool(np.signbit(zeros.to_numpy(zero_copy_only=False)).any())


def _assign_each(array: Array, target: pa.DataType, convert: Callable[[Any], Any]) -> tuple[Array | None, Array | None]:
    values = array.to_pylist()
    fit: list[Any] = [None] * len(values)
    left = [False] * len(values)
    for row, value in enumerate(values):
        if value is None:
            continue
        try:
            fit[row] = convert(value)
        except CONVERSION_ERRORS:
            fit[row] = None
        left[row] = fit[row] is None
    found = pa.array(fit, target)
    rest = pc.if_else(pa.array(left), array, pa.scalar(None, array.type)) if any(left) else None
    return (None if found.null_count == len(found) else found), rest


def _number_for(target: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_integer(target):
        return lambda value: _integer(value, target)
    if pa.types.is_floating(target):
        return lambda value: _float(value, target)
    return lambda value: _decimal(value, target)


def _integer(value: Any, target: pa.DataType) -> int | None:
    number = int(value)
    low, high = (0, 2**target.bit_width) if pa.types.is_unsigned_integer(target) else _signed_range(target)
    return number if number == value and low <= number < high and not _is_negative_zero(value) else None


def _signed_range(target: pa.DataType) -> tuple[int, int]:
    return -(2 ** (target.bit_width - 1)), 2 ** (target.bit_width - 1)


def _float(value: Any, target: pa.DataType) -> float | None:
    number = float(np.float32(value)) if pa.types.is_float32(target) else float(value)
    return number if bool(number == value) else None


def _decimal(value: Any, target: pa.DataType) -> decimal.Decimal | None:
    number = decimal.Decimal(value)
    if not number.is_finite() or _is_negative_zero(value):
        return None
    try:
        # Arrow takes some numbers of hundreds of digits, as tiny floats have, for 0
        if pa.scalar(number, target).as_py() == number:
            return number
    except ARROW_ERRORS:
        pass
    return _shorter(number, target)


def _shorter(number: decimal.Decimal, target: pa.DataType) -> decimal.Decimal | None:
    """Return ``number`` with the digits of ``target`` where only zeros are left out."""
    with decimal.localcontext(prec=200):
        cut = number.quantize(decimal.Decimal(1).scaleb(-target.scale))
        return cut if cut == number and len(cut.as_tuple().digits) <= target.precision else None


def _is_negative_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0 and math.copysign(1, value) < 0


def _uuid(value: str) -> bytes | None:
    found = uuid.UUID(value)
    return found.bytes if str(found) == value else None
