"""How often drift checks cry wolf, and how often they see one: the tables of ``docs/drift.md``, simulated again."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from statistics import NormalDist, median

import numpy as np
import pytest

from airflow_provider_phlo.quality import HistogramDriftCheck, RowCountAnomalyCheck
from airflow_provider_phlo.quality.drift.bands import deviation

PAGE = Path(__file__).parents[4] / "docs" / "drift.md"
FIRST = dt.date(2023, 1, 2)
DECILES = NormalDist().quantiles(10)


def table(heading: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the first table below a heading of the page."""
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert section
    lines = [line.strip("|").split("|") for line in section.group(1).splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line] for line in lines]
    return head, body


def assert_rates(line: list[str], measured: list[float]) -> None:
    """Compare the page's percentages with measured shares."""
    told = [float(cell.removesuffix(" %")) for cell in line]
    assert told == pytest.approx([100 * rate for rate in measured], rel=0.15, abs=0.15), line[0]


def false_alarms(days: int, deviations: list[float]) -> list[float]:
    chance = np.random.default_rng(days)
    distances = []
    for _ in range(10_000):
        *history, now = chance.standard_normal(days + 1).tolist()
        distances.append(abs(now - median(history)) / deviation(history))
    return [float(np.mean(np.array(distances) > limit)) for limit in deviations]


def test_false_alarms_by_days_and_deviations():
    head, lines = table("False alarms")
    for days, *rates in lines:
        assert_rates(rates, false_alarms(int(days), [float(cell.split()[0]) for cell in head[1:]]))


def row_counts(chance: np.random.Generator, days: int) -> list[int]:
    """Return rows a day: 1,000, on weekends 400, growing by 0.05 % a day, and 5 % up and down."""
    usual = np.array([1000 if number % 7 < 5 else 400 for number in range(days)])
    growth = 1.0005 ** np.arange(days)
    return (usual * growth * np.exp(chance.normal(0, 0.05, days))).astype(int).tolist()


def alarms(check: RowCountAnomalyCheck, factor: float, start: int, tables: int) -> float:
    """Return how often a day is an anomaly when it has ``factor`` times its rows."""
    chance, seen, length = np.random.default_rng(5), [], 28 if start < 84 else 84
    for _ in range(tables):
        counts = row_counts(chance, start + length)
        known = {FIRST + dt.timedelta(each): {"row count": float(count)} for each, count in enumerate(counts)}
        for number in range(start, start + length):
            day = FIRST + dt.timedelta(number)
            oldest = day - dt.timedelta(check.history)
            days = {each: found for each, found in known.items() if oldest <= each < day}
            days[day] = {"row count": float(int(counts[number] * factor))}
            values = {"day": day, "days": days, "source": None, "names": ("row count",)}
            seen.append(not check.judge(0, values).passed)
    return float(np.mean(seen))


SERIES: dict[str, tuple[RowCountAnomalyCheck, int]] = {
    "`RowCountAnomalyCheck()`": (RowCountAnomalyCheck(), 84),
    "`RowCountAnomalyCheck(deviations=4)`": (RowCountAnomalyCheck(deviations=4), 84),
    "`RowCountAnomalyCheck(seasonality=None)`": (RowCountAnomalyCheck(seasonality=None), 84),
    "`RowCountAnomalyCheck()`, a table of 2 to 5 weeks": (RowCountAnomalyCheck(), 14),
}


@pytest.mark.long
def test_row_counts_with_weekdays():
    head, lines = table("Row counts of a week")
    factors = [float(re.findall(r"[\d.]+", cell)[0]) for cell in head[2:]]
    assert {line[0] for line in lines} == SERIES.keys()
    for name, *rates in lines:
        check, start = SERIES[name]
        found = [alarms(check, 1.0, start, tables=40), *(alarms(check, factor, start, tables=10) for factor in factors)]
        assert_rates(rates, found)
        if name == "`RowCountAnomalyCheck()`":
            assert found[0] < 0.01
            assert min(found[1], found[3]) > 0.95


def drifted(check: HistogramDriftCheck, rows: int, shift: float) -> float:
    chance, seen = np.random.default_rng(rows), []
    before, now = ([NormalDist(mean).cdf(bound) for bound in DECILES] for mean in (0, shift))
    usual, shares = (np.diff([0, *below, 1]) for below in (before, now))
    for _ in range(400):
        days = {FIRST - dt.timedelta(back): [0, 0, *chance.multinomial(rows, usual).tolist()] for back in range(29)}
        days[FIRST] = [0, 0, *chance.multinomial(rows, shares).tolist()]
        values = {"day": FIRST, "days": days, "source": None, "names": [""] * 12}
        seen.append(not check.judge(0, values).passed)
    return float(np.mean(seen))


@pytest.mark.long
def test_shifts_of_a_distribution():
    head, lines = table("Shifts of a distribution")
    shifts = [float(re.findall(r"[\d.]+", cell)[0]) for cell in head[2:]]
    for rows, *rates in lines:
        check = HistogramDriftCheck("v")
        number = int(rows.replace(",", ""))
        assert_rates(rates, [drifted(check, number, shift) for shift in (0.0, *shifts)])
