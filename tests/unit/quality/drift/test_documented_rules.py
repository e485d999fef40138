"""The examples of ``docs/drift.md``, as they stand there."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo import quality
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.quality.scan import run_checks

PAGE = Path(__file__).parents[4] / "docs" / "drift.md"
WEEKDAYS = "Mon Tue Wed Thu Fri Sat Sun".split()  # noqa: SIM905
EXAMPLE = re.compile(
    r"^### ([^\n]*)\n(?:(?!^#).)*?```python\n(.*?)\n```\n((?:\|[^\n]*\n)+)\n```\n(.*?)\n```", re.DOTALL | re.MULTILINE
)
SPECIAL = {"NULL": None, "NaN": float("nan"), "inf": float("inf")}


@dataclass(frozen=True)
class Example:
    title: str
    check: str
    lines: list[list[str]]
    expected: str

    @property
    def partition(self) -> str | None:
        """The day after ``# on``, else none: the newest day counts."""
        return self.check.partition("# on ")[2] or None


def examples() -> list[Example]:
    found = EXAMPLE.findall(PAGE.read_text())
    return [Example(title, check, cells(table), expected) for title, check, table, expected in found]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def days(text: str) -> list[dt.date]:
    """Return the days of ``2024-01-01 to 2024-01-31 Mon Tue``."""
    first, *last = re.findall(r"\d{4}-\d\d-\d\d", text)
    start, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last[0] if last else first)
    wanted = [name for name in WEEKDAYS if name in text.split()] or WEEKDAYS
    every = [start + dt.timedelta(days=number) for number in range((end - start).days + 1)]
    return [day for day in every if WEEKDAYS[day.weekday()] in wanted]


def value(text: str) -> Any:
    if text in SPECIAL:
        return SPECIAL[text]
    return text if text.isalpha() else float(text)


def rows(line: list[str]) -> list[dict[str, Any]]:
    made = []
    counts, choices = cycle(line[1].split()), cycle((line[2:] or ["1"])[0].split(" / "))
    for day, count, texts in zip(days(line[0]), counts, choices):  # noqa: B905 - endless
        values = islice(cycle([value(text) for text in texts.split()]), int(count))
        made += [{"day": day, "v": each} for each in values]
    return made


def create(catalog: Any, name: str, lines: list[list[str]]) -> None:
    found = [row for line in lines for row in rows(line)]
    text = any(isinstance(row["v"], str) for row in found)
    values = pa.array([row["v"] for row in found], pa.string() if text else pa.float64())
    data = pa.table({"day": pa.array([row["day"] for row in found], pa.date32()), "v": values})
    catalog.create_table(name, data.schema).append(data)


@pytest.mark.long
@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_example(example, catalog):
    ensure_namespace(catalog, "raw")
    create(catalog, "raw.t", [line for line in example.lines if "source" not in line[0]])
    if sources := [line for line in example.lines if "source" in line[0]]:
        create(catalog, "raw.source", sources)
    check = eval(example.check, vars(quality))
    (result,) = run_checks(catalog, "raw.t", [check], partition_column="day", partition=example.partition)
    assert f"{'passed' if result.passed else 'failed'}: {result.message}" == example.expected


def test_the_page_has_an_example_of_each_check():
    used = {example.check.partition("(")[0] for example in examples()}
    named = set(re.findall(r"^\| `(\w+Check)\(", PAGE.read_text(), re.MULTILINE))
    assert len(named) == 7
    assert named <= used
    assert len(examples()) == PAGE.read_text().count("\n```python\n") - 1  # the first is a DAG's
