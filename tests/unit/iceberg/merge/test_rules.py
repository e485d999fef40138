"""The rules of ``docs/merge.md``, as they stand there."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.ingestion.definition import merge_plan
from airflow_provider_phlo.row_hash import row_hashes
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg

PAGE = Path(__file__).parents[4] / "docs" / "merge.md"
TABLE = "raw.t"
DAY = "2024-01-02"


def instant(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    # once pandera is imported, pyarrow ignores the offset of a datetime: only UTC is safe
    return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)


TYPES: dict[str, tuple[pa.DataType, Callable[[str], Any]]] = {
    "int": (pa.int64(), int),
    "int32": (pa.int32(), int),
    "float": (pa.float64(), float),
    "text": (pa.string(), str),
    "bool": (pa.bool_(), lambda text: text == "true"),
    "decimal": (pa.decimal128(12, 2), Decimal),
    "timestamp": (pa.timestamp("us", "UTC"), instant),
    "list": (pa.list_(pa.string()), json.loads),
    "struct1": (pa.struct([("x", pa.int64())]), json.loads),
    "struct": (pa.struct([("x", pa.int64()), ("y", pa.int64())]), json.loads),
}


@dataclass(frozen=True)
class Rule:
    title: str
    options: dict[str, str]
    expected: dict[str, str]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[str]]]

    def table(self, kind: str) -> pa.Table | None:
        """Return the rows of one kind; a column whose cells are all ``-`` is not there."""
        rows = [cells for row, cells in self.rows if row == kind]
        found: dict[str, pa.Array] = {}
        for position, (name, type_name) in enumerate(self.columns):
            cells = [row[position] for row in rows]
            if rows and all(cell == "-" for cell in cells):
                continue
            arrow, convert = TYPES[type_name]
            found[name] = pa.array([None if cell == "" else convert(cell) for cell in cells], arrow)
        return pa.table(found) if rows or kind == "batch" else None


def rules() -> list[Rule]:
    sections = re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return [rule(section) for section in sections]


def rule(section: str) -> Rule:
    title = section.partition("\n")[0]
    block = re.search(r"```\n(.*?)\n```\n((?:\|.*\n)+)", section, re.DOTALL)
    assert block, title
    settings, _, expected = block.group(1).partition("\n")
    strategy, *options = settings.split()
    header, _, *lines = (
        [cell.strip() for cell in line.strip("|\n").split("|")] for line in block.group(2).splitlines()
    )
    columns = [(name.partition(" ")[0], name.partition(" ")[2] or "day") for name in header[1:]]
    return Rule(
        title,
        {"strategy": strategy, **dict(option.split("=") for option in options)},
        {"error": expected.removeprefix("error=")} if expected.startswith("error=") else facts(expected),
        columns,
        [(row, cells) for row, *cells in lines],
    )


def facts(text: str) -> dict[str, str]:
    return dict(fact.split("=") for fact in text.split())


def plan(options: dict[str, str]) -> MergePlan:
    config: dict[str, Any] = {name: value for name, value in options.items() if name not in ("strategy", "key")}
    if "deduplication" in config:
        config["deduplication"] = config["deduplication"] == "true"
    key = tuple(options.get("key", "").split(",")) if "key" in options else ()
    return merge_plan(options["strategy"], key, config)


def with_metadata(rows: pa.Table, days: list[str]) -> pa.Table:
    dates = pa.array([dt.date.fromisoformat(day) for day in days], pa.date32())
    return rows.append_column("_phlo_partition_date", dates).append_column("_phlo_row_hash", row_hashes(rows))


def plain(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def content(rows: pa.Table, names: list[str]) -> Counter[Any]:
    return Counter(tuple(plain(row[name]) for name in names) for row in rows.select(names).to_pylist())


def parts(found: Rule, kind: str) -> tuple[pa.Table, list[str]]:
    days = [DAY for row, _ in found.rows if row == kind]
    columns = found.columns
    if columns[0] == ("day", "day"):
        days = [cells[0] for row, cells in found.rows if row == kind]
        columns = columns[1:]
        found = Rule(
            found.title, found.options, found.expected, columns, [(row, cells[1:]) for row, cells in found.rows]
        )
    table = found.table(kind)
    return (table if table is not None else pa.table({})), days


@pytest.mark.long
@pytest.mark.parametrize("found", rules(), ids=lambda found: found.title)
@pytest.mark.parametrize("parts_of_the_batch", ["one table", "one table per row, read again"])
def test_rule(found: Rule, parts_of_the_batch: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    before, days = parts(found, "table")
    batch = with_metadata(*parts(found, "batch"))
    start = with_metadata(before, days) if len(before) else batch.slice(0, 0)
    tables.ensure_table(catalog, TABLE, arrow_to_iceberg(start.schema), partition_by="_phlo_partition_date")
    catalog.load_table(TABLE).append(start)
    snapshots = len(catalog.load_table(TABLE).snapshots())
    rows: Any = batch
    if parts_of_the_batch != "one table":
        monkeypatch.setattr("airflow_provider_phlo.iceberg.merge.batch.BYTES_IN_MEMORY", 0)
        rows = [batch.slice(row, 1) for row in range(len(batch))]

    def run() -> Any:
        tables.evolve(catalog, TABLE, batch.schema)
        return merge(catalog, TABLE, rows, plan(found.options), token="r", partition_date=DAY)

    if "error" in found.expected:
        with pytest.raises(PhloError, match=re.escape(found.expected["error"])):
            run()
        assert len(catalog.load_table(TABLE).snapshots()) == snapshots
        return
    result = run()
    branches.move_main(catalog, TABLE, branches.branch_name("r"), expected_head=result.head)
    expected = {name: int(value) for name, value in found.expected.items()}
    assert len(catalog.load_table(TABLE).snapshots()) - snapshots == expected.pop("snapshots", 1)
    counts = result.to_json()
    names = ("inserted", "updated", "unchanged", "duplicates", "deleted", "outdated", "replaced", "deleted_duplicates")
    assert {name: counts[name] for name in names if counts[name]} == expected
    after, days = parts(found, "after")
    with_days = after.append_column("_phlo_partition_date", pa.array(map(dt.date.fromisoformat, days), pa.date32()))
    columns = with_days.column_names if found.columns[0][0] == "day" else after.column_names
    assert content(catalog.load_table(TABLE).scan().to_arrow(), columns) == content(with_days, columns)


def test_the_page_has_rules_for_every_strategy() -> None:
    assert {found.options["strategy"] for found in rules()} == {"merge", "append", "replace"}
    assert len(rules()) >= 24
