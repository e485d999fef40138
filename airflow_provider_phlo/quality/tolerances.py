"""Tolerances of checks: which numbers they may be, and whether a difference of counts is within them."""

from __future__ import annotations

import math
from fractions import Fraction

from airflow_provider_phlo.exceptions import ConfigurationError

# how far a product of two doubles may be off, as a share of it: 0.29 * 100 is less than 29
ROUNDING = 2.0**-50


def require_tolerances(owner: str, **tolerances: float) -> None:
    """
    Assert that tolerances are numbers from 0.

    :param owner: whose they are, in the message.
    :raises ConfigurationError: one of them is something else.
    """
    for name, value in tolerances.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise ConfigurationError(f"{owner}: {name} is {value!r}, it must be a number from 0.")


def within(difference: int, total: int, *, relative: float, absolute: float = 0) -> bool:
    """
    Return whether a difference of counts is within a tolerance, bounds included.

    :param relative: a share of ``total``, taken as it is written: 0.29 of 100 are 29.
    :param absolute: a number.
    """
    return difference <= absolute or difference <= Fraction(str(relative)) * abs(total)
