"""How far arithmetic on doubles may be off, for whatever compares with a tolerance."""

from __future__ import annotations

# as a share of a number: 0.29 * 100 is less than 29
ROUNDING = 2.0**-50
