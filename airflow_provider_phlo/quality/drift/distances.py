"""How far two histograms are apart, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

# the share of pairs of samples of one distribution whose distance is below the noise
CONFIDENCE = 0.999


def population_stability_index(now: Sequence[int], before: Sequence[int]) -> float:
    """
    Return the population stability index of two histograms: the sum over buckets of (p - q) ln(p / q).

    p and q are a bucket's shares of the rows, see :func:`shares`. The index comes from credit scoring (N. Siddiqi,
    "Credit Risk Scorecards", 2006): below 0.1 nothing has moved, above 0.25 much has. It is the symmetric divergence of
    H. Jeffreys (1946).

    :param now: the number of rows in each bucket.
    :param before: the number of rows in the same buckets.
    """
    return sum((p - q) * math.log(p / q) for p, q in zip(shares(now), shares(before), strict=True))


def jensen_shannon(now: Sequence[int], before: Sequence[int]) -> float:
    """
    Return the Jensen-Shannon distance of two histograms, from 0 (alike) to 1 (nothing in common).

    It is the square root of the mean of KL(p, m) and KL(q, m), where m = (p + q) / 2 and logarithms are of base 2
    (J. Lin, "Divergence measures based on the Shannon entropy", 1991; the root is a metric: D. Endres and
    J. Schindelin, 2003).

    :param now: the number of rows in each bucket.
    :param before: the number of rows in the same buckets.
    """
    pairs = list(zip(shares(now), shares(before), strict=True))
    divergence = sum(p * math.log2(2 * p / (p + q)) + q * math.log2(2 * q / (p + q)) for p, q in pairs) / 2
    return math.sqrt(max(divergence, 0.0))


def shares(counts: Sequence[int]) -> list[float]:
    """Return each bucket's share of the rows, half a row added to each, so that empty ones have a logarithm."""
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


def noise(now: int, before: int, buckets: int) -> float:
    """
    Return the population stability index that 999 of 1,000 pairs of samples of one distribution stay below.

    The index of two samples is distributed as (1 / n + 1 / m) times chi-square with one degree of freedom fewer than
    there are buckets (B. Yurdakul, "Statistical properties of population stability index", 2018); its quantile is that
    of E. Wilson and M. Hilferty (1931).

    :param now: the number of rows of one sample.
    :param before: the number of rows of the other.
    :param buckets: the number of buckets.
    """
    if not now or not before or buckets < 2:
        return 0.0
    freedom = buckets - 1
    root = 1 - 2 / (9 * freedom) + NormalDist().inv_cdf(CONFIDENCE) * math.sqrt(2 / (9 * freedom))
    return freedom * root**3 * (1 / now + 1 / before)


def jensen_shannon_noise(now: int, before: int, buckets: int) -> float:
    """Return the same for the Jensen-Shannon distance: near 0, its square is the index divided by 8 ln 2."""
    return math.sqrt(noise(now, before, buckets) / (8 * math.log(2)))
