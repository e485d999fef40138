"""When two numbers are close enough, as SQL that both engines read."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal

from airflow_provider_phlo.quality.reconciliation.canonical import MAX_DIGITS, Forms
from airflow_provider_phlo.quality.reconciliation.value_types import ValueType
from airflow_provider_phlo.quality.tolerances import ROUNDING

_EXACT = Context(prec=400)


@dataclass(frozen=True)
class ValueTolerance:
    """
    How far apart two numbers may be and still count as equal.

    Decimals and integers are compared exactly, and a tolerance of them is the decimal that its author has written;
    doubles are subtracted as doubles.

    :param relative: ``|target - source| <= relative * |source|``.
    :param absolute: ``|target - source| <= absolute``.
    """

    relative: float = 0.0
    absolute: float = 0.0

    def __bool__(self) -> bool:
        return self.relative > 0 or self.absolute > 0

    def covers(self, kind: ValueType) -> bool:
        """Return whether values of a type of a column may differ at all: floats and decimals, not integers."""
        return bool(self) and kind.family in ("float", "decimal")

    def within(self, source: str, target: str, kind: ValueType, forms: Forms) -> str:
        """
        Return the condition that two numbers are close enough; NULL or false where they are not.

        :param kind: the type as which they are compared.
        """
        if kind.family == "float":
            apart, magnitude = f"abs({target} - {source})", f"abs({source})"
            absolute = double(self.absolute)
            largest = double(sys.float_info.max)
            bound = f"{apart} <= {self._share()} * {magnitude}"
            sound = f"abs({source}) <= {largest} AND abs({target}) <= {largest}"
        else:
            exact = f"DECIMAL({MAX_DIGITS}, {kind.scale})"
            source, target = f"TRY_CAST({source} AS {exact})", f"TRY_CAST({target} AS {exact})"
            magnitude = f"abs(CAST({source} AS DOUBLE))"
            # the difference of larger ones may have more digits than a decimal can: these are close to nothing
            room = double(9 * 10.0 ** (MAX_DIGITS - 1 - kind.scale))
            sound = f"{magnitude} + abs(CAST({target} AS DOUBLE)) < {room}"
            apart = f"CASE WHEN {sound} THEN abs({target} - {source}) END"
            absolute = f"CAST('{_floor(self.absolute, kind.scale):f}' AS {exact})"
            bound = self._is_share(apart, source, magnitude, forms)
        bounds = [f"{apart} <= {absolute}"] if self.absolute else []
        bounds += [bound] if self.relative else []
        return f"({sound} AND ({' OR '.join(bounds) or 'false'}))"

    def _share(self, rounding: float = ROUNDING) -> str:
        """Return the relative tolerance as a double, with room for what the product of two doubles may be off."""
        return double(min(self.relative * (1 + rounding), sys.float_info.max))

    def _is_share(self, apart: str, source: str, magnitude: str, forms: Forms) -> str:
        """Return the condition that a decimal is at most the relative tolerance's share of another one."""
        _, digits, exponent = Decimal(repr(float(self.relative))).normalize().as_tuple()
        assert isinstance(exponent, int)
        places, factor = max(-exponent, 0), int("".join(map(str, digits))) * 10 ** max(exponent, 0)
        if len(str(factor)) + places > MAX_DIGITS:
            return f"CAST({apart} AS DOUBLE) <= {self._share()} * {magnitude}"
        # only what doubles cannot tell apart is computed in whole numbers: share * (quotient * 10^places + rest)
        share, power = (f"CAST('{number}' AS {forms.large})" for number in (factor, 10**places))
        units, total = (
            f"CAST(replace(CAST(abs({each}) AS VARCHAR), '.', '') AS {forms.large})" for each in (apart, source)
        )
        exact = (
            f"{share} * {forms.quotient(total, power)} + {forms.quotient(f'({share} * ({total} % {power}))', power)}"
        )
        return (
            f"CASE WHEN CAST({apart} AS DOUBLE) <= {self._share(-4 * ROUNDING)} * {magnitude} THEN true "
            f"WHEN CAST({apart} AS DOUBLE) > {self._share(4 * ROUNDING)} * {magnitude} THEN false "
            f"ELSE {units} <= {exact} END"
        )

    def rounded(self, value: str, kind: ValueType) -> tuple[str, ValueType]:
        """
        Return SQL that rounds a number so that equal results are close enough, and its type; engines agree on it.

        Most numbers that are close enough are equal after it; the rest is compared by value.

        :param value: SQL of the comparable form of type ``kind``.
        """
        if kind.family == "float":
            return self._rounded_double(value), kind
        digits = max(0, -Decimal(repr(self.absolute)).adjusted()) if self.absolute else kind.scale
        if digits >= kind.scale or kind.digits > MAX_DIGITS:
            return value, kind
        # two decimals that round to the same one are less than its last digit apart
        rounded = ValueType("decimal", kind.digits - kind.scale + digits + 1, digits)
        return f"CAST({value} AS DECIMAL({rounded.digits}, {rounded.scale}))", rounded

    def _rounded_double(self, value: str) -> str:
        if self.relative:
            # Veltkamp's splitting keeps the leading bits
            bits = min(50, math.floor(53 + math.log2(self.relative / 2)))
            if bits < 1:
                return value
            large = f"({value} * {double(2.0**bits + 1)})"
            return f"CASE WHEN abs({value}) < 1e290 THEN {large} - ({large} - {value}) ELSE {value} END"
        if self.absolute < 2 * math.ulp(0.0):  # half of it would be 0
            return value
        step = 2.0 ** math.floor(math.log2(self.absolute / 2))
        scaled = f"floor({value} / {double(step)} + 0.5e0) * {double(step)}"
        return (
            f"CASE WHEN abs({value}) < {double(min(step * 2**52, sys.float_info.max))} THEN {scaled} ELSE {value} END"
        )


NO_TOLERANCE = ValueTolerance()


def double(number: float) -> str:
    """Return the SQL literal of a double."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"


def _floor(number: float, scale: int) -> Decimal:
    """Return the largest decimal of ``scale`` digits behind the point, of those that engines have, up to ``number``."""
    largest = Decimal(10**MAX_DIGITS - 1).scaleb(-scale, _EXACT)
    exact = Decimal(repr(float(number))) if isinstance(number, float) else Decimal(number)
    return min(exact.quantize(Decimal(1).scaleb(-scale), ROUND_FLOOR, _EXACT), largest)
