"""Bands and distances of histograms against NumPy and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.quality.drift.bands import Band, Tolerance, deviation, quantile, widen
from airflow_provider_phlo.quality.drift.distances import (
    jensen_shannon,
    jensen_shannon_noise,
    noise,
    population_stability_index,
    shares,
)

numbers = st.floats(-1e9, 1e9)
histories = st.lists(numbers, min_size=1, max_size=40)
counts = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=12)


@settings(deadline=None)
@given(histories)
def test_the_deviation_is_that_of_its_formula(history):
    middle = np.median(history)
    spread = np.median(np.abs(np.array(history) - middle))
    small = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.2, 7: 1.14, 8: 1.129, 9: 1.107}
    count = len(history)
    factor = small.get(count, count / (count - 0.8)) * math.sqrt(1 + math.pi / 2 / count)
    assert deviation(history) == pytest.approx(1.4826 * factor * spread, rel=1e-9, abs=1e-9)


def test_the_deviation_of_normal_numbers_is_theirs():
    rows = np.random.default_rng(1).normal(50, 3, size=(2000, 20))
    # 20 numbers and their uncertain median: 3 * sqrt(1 + pi / 40)
    assert np.mean([deviation(list(row)) for row in rows]) == pytest.approx(3.12, abs=0.06)


@settings(deadline=None)
@given(histories, st.floats(0, 1))
def test_a_quantile_is_numpys(history, fraction):
    assert quantile(history, fraction) == pytest.approx(np.quantile(history, fraction), rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(
    histories,
    st.one_of(st.none(), st.floats(0.1, 9)),
    st.floats(0, 2),
    st.floats(0, 1e9),
    st.one_of(st.none(), st.just((0.1, 0.9))),
)
def test_the_widest_tolerance_counts(history, deviations, relative, absolute, quantiles):
    band = Tolerance(deviations, relative, absolute, quantiles).band(history)
    middle = float(np.median(history))
    slack = max(relative * abs(middle), absolute)
    low, high = [middle - slack], [middle + slack]
    if quantiles:
        low.append(np.quantile(history, 0.1))
        high.append(np.quantile(history, 0.9))
    elif deviations:
        low.append(middle - deviations * deviation(history))
        high.append(middle + deviations * deviation(history))
    assert band.median == pytest.approx(middle)
    assert band.low == pytest.approx(min(low), rel=1e-9, abs=1e-6)
    assert band.high == pytest.approx(max(high), rel=1e-9, abs=1e-6)


def test_a_band_holds_its_bounds_and_no_nan():
    band = Band(1, 2, 3)
    assert [value in band for value in (1, 3.0, 0.999, 3.001, math.nan, math.inf, None)] == [True, True] + [False] * 5


def test_the_largest_numbers_have_a_band():
    history = [1.7e308, 1.7e308, -1.7e308, 1.6e308]
    assert quantile(history, 0.5) == pytest.approx(1.65e308)
    assert 1.7e308 in widen(Tolerance(5.0).band(history), history)
    assert 1.7e308 in Tolerance(None, 1.0).band(history)


def test_widen_holds_more_and_never_less():
    band = Band(90, 100, 105)
    assert widen(band, []) == band
    assert widen(band, [100]) == band
    assert widen(band, [40, 42]) == Band(30, 100, 105)
    assert widen(band, [40, 200]) == Band(30, 100, 205)


@settings(deadline=None)
@given(counts)
def test_distances_are_those_of_their_definitions(pairs):
    now, before = ([pair[side] for pair in pairs] for side in (0, 1))
    p, q = ((np.array(each) + 0.5) / (sum(each) + len(each) / 2) for each in (now, before))
    middle = (p + q) / 2
    divergence = (np.sum(p * np.log2(p / middle)) + np.sum(q * np.log2(q / middle))) / 2
    assert shares(now) == pytest.approx(p)
    assert population_stability_index(now, before) == pytest.approx(np.sum((p - q) * np.log(p / q)), abs=1e-9)
    assert jensen_shannon(now, before) == pytest.approx(math.sqrt(max(divergence, 0)), abs=1e-6)


@settings(deadline=None)
@given(counts)
def test_distances_are_symmetric_and_nothing_between_equals(pairs):
    now, before = ([pair[side] for pair in pairs] for side in (0, 1))
    for distance in (population_stability_index, jensen_shannon):
        assert distance(now, before) == pytest.approx(distance(before, now), abs=1e-9)
        assert distance(now, now) == pytest.approx(0, abs=1e-6)
    assert jensen_shannon(now, before) <= 1


@pytest.mark.parametrize(("rows", "buckets"), [(100, 10), (1000, 5), (50, 4), (2000, 22)])
def test_chance_stays_below_the_noise(rows, buckets):
    chance = np.random.default_rng(2)
    same = np.full(buckets, 1 / buckets)
    samples = [(chance.multinomial(rows, same), chance.multinomial(20 * rows, same)) for _ in range(3000)]
    pairs = [(now.tolist(), before.tolist()) for now, before in samples]
    for distance, limit in ((population_stability_index, noise), (jensen_shannon, jensen_shannon_noise)):
        above = np.mean([distance(*pair) > limit(rows, 20 * rows, buckets) for pair in pairs])
        assert above <= 0.004
    # and the limit is no more than it has to be
    assert np.quantile([population_stability_index(*pair) for pair in pairs], 0.999) > 0.6 * noise(
        rows, 20 * rows, buckets
    )


def test_no_rows_make_no_noise():
    assert noise(0, 5, 5) == noise(5, 0, 5) == noise(5, 5, 1) == 0
