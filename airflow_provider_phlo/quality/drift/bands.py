"""Where a number is expected, given the same number on earlier days: medians and deviations, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

# The median absolute deviation of few numbers is too small: factors that correct it, by count (Croux, Rousseeuw, "Time-
# efficient algorithms for two highly robust estimators of scale", 1992, section 4).
_SMALL_SAMPLE = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
# times this, the median absolute deviation of normally distributed numbers is their standard deviation
_NORMAL = 1.4826


class Band(NamedTuple):
    """The range in which a number is expected, bounds included, and the median of the history."""

    low: float
    median: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Tolerance:
    """
    How far from the median of the history a number may lie: the widest of these counts.

    :param deviations: a number of robust standard deviations, see :func:`deviation`; None for none.
    :param relative: a share of the median.
    :param absolute: a number.
    :param quantiles: instead of ``deviations``, two quantiles of the history; the other tolerances widen the range.
    """

    deviations: float | None = 5.0
    relative: float = 0.0
    absolute: float = 0.0
    quantiles: tuple[float, float] | None = None

    def band(self, history: Sequence[float]) -> Band:
        """Return where a number is expected, given a history that is not empty."""
        centre = median(history)
        slack = max(self.relative * abs(centre), self.absolute)
        if self.quantiles is not None:
            low, high = (quantile(history, fraction) for fraction in self.quantiles)
            return Band(min(low, centre - slack), centre, max(high, centre + slack))
        if self.deviations is not None:
            slack = max(slack, self.deviations * deviation(history))
        return Band(centre - slack, centre, centre + slack)


def deviation(history: Sequence[float]) -> float:
    """
    Return the standard deviation of the next number from the median of ``history``; a few outliers do not move it.

    It is 1.4826 b(n) MAD sqrt(1 + pi / 2n): MAD is the median absolute deviation from the median, b(n) corrects it for
    few numbers (Croux and Rousseeuw 1992), and the root accounts for the uncertainty of the median of n numbers.
    """
    count, centre = len(history), median(history)
    correction = _SMALL_SAMPLE.get(count, count / (count - 0.8))
    spread = median([abs(number - centre) for number in history])
    return _NORMAL * correction * spread * math.sqrt(1 + math.pi / (2 * count))


def median(numbers: Sequence[float]) -> float:
    """Return the middle one of ``numbers``, or the mean of the middle two; finite if they are."""
    return quantile(numbers, 0.5)


def quantile(numbers: Sequence[float], fraction: float) -> float:
    """Return the ``fraction`` quantile, interpolated linearly between two numbers."""
    ordered, position = sorted(numbers), fraction * (len(numbers) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    low, high, share = ordered[below], ordered[above], position - below
    return low if low == high else (1 - share) * low + share * high  # no subtraction: it may overflow


def widen(band: Band, numbers: Sequence[float]) -> Band:
    """
    Return ``band`` widened to hold ``numbers`` too, with as much room around them as around its median.

    With few Sundays in the history, the band comes from all days; widened, it does not call a usual Sunday an anomaly.
    """
    room_below, room_above = band.median - band.low, band.high - band.median
    low = min([band.low, *(number - room_below for number in numbers)])
    return Band(low, band.median, max([band.high, *(number + room_above for number in numbers)]))
