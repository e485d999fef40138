"""The examples of ``docs/reconciliation.md``, read as data."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.quality.reconciliation import (
    AggregateConsistencyCheck,
    ChecksumReconciliationCheck,
    KeyParityCheck,
    Reconciliation,
    ReconciliationCheck,
)

PAGE = Path(__file__).parents[4] / "docs" / "reconciliation.md"


def instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def text(cell: str) -> str:
    return cell.replace("␠", " ").replace("␀", "")


TYPES: dict[str, tuple[pa.DataType, Callable[[str], Any]]] = {
    "int": (pa.int64(), int),
    "int32": (pa.int32(), int),
    "integer": (pa.int64(), int),
    "float": (pa.float64(), float),
    "float32": (pa.float32(), float),
    "text": (pa.string(), text),
    "bool": (pa.bool_(), lambda cell: cell == "true"),
    "boolean": (pa.bool_(), lambda cell: cell == "true"),
    "decimal": (pa.decimal128(12, 2), Decimal),
    "decimal4": (pa.decimal128(12, 4), Decimal),
    "date": (pa.date32(), dt.date.fromisoformat),
    "time": (pa.time64("us"), dt.time.fromisoformat),
    "timestamp": (pa.timestamp("us"), dt.datetime.fromisoformat),
    "instant": (pa.timestamp("us", "UTC"), instant),
    "binary": (pa.binary(), bytes.fromhex),
    "list": (pa.list_(pa.string()), json.loads),
    "struct1": (pa.struct([("x", pa.int64())]), json.loads),
    "struct": (pa.struct([("x", pa.int64()), ("y", pa.int64())]), json.loads),
    "map": (pa.map_(pa.string(), pa.int64()), lambda cell: [tuple(entry) for entry in json.loads(cell)]),
}
NUMBERS = ("tolerance", "absolute_tolerance", "value_tolerance", "absolute_value_tolerance")


@dataclass(frozen=True)
class Rule:
    title: str
    kind: str
    options: dict[str, str]
    passes: bool
    expected: dict[str, str]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[str]]]

    def table(self, side: str) -> pa.Table:
        """Return the rows of one side; a column whose cells are all ``-`` is not there."""
        rows = [cells for row, cells in self.rows if row == side]
        found: dict[str, pa.Array] = {}
        for place, (name, type_name) in enumerate(self.columns):
            cells = [row[place] for row in rows]
            if cells and all(cell == "-" for cell in cells):
                continue
            arrow, convert = TYPES[type_name]
            found[name] = pa.array([None if cell == "" else convert(cell) for cell in cells], arrow)
        return pa.table(found)

    def check(self, source: str) -> Reconciliation:
        """Return the check of the example."""
        given: dict[str, Any] = {name: float(self.options[name]) for name in NUMBERS if name in self.options}
        key = self.options["key"].split(",") if "key" in self.options else ()
        if self.kind == "checksum":
            return ChecksumReconciliationCheck(source, key_columns=key, **given)
        if self.kind == "keys":
            return KeyParityCheck(source, key, **given)
        if self.kind == "rowcount":
            how: Any = self.options.get("check_type", "rowcount_parity")
            return ReconciliationCheck(source, self.options.get("partition"), how, **given)
        return AggregateConsistencyCheck(
            source, self.options["column"], self.options["expression"], self.options["group"], **given
        )


def rules() -> list[Rule]:
    page = PAGE.read_text().partition("## What is equal")[2]
    return [rule(section) for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]]


def rule(section: str) -> Rule:
    title = section.partition("\n")[0]
    block = re.search(r"```\n(.*?)\n```\n((?:\|.*\n)+)", section, re.DOTALL)
    assert block, title
    settings, _, outcome = block.group(1).partition("\n")
    kind, *options = settings.split()
    header, _, *lines = (
        [cell.strip(" ") for cell in line.strip("\n")[1:-1].split("|")] for line in block.group(2).splitlines()
    )
    if outcome.startswith("error="):
        passes, expected = False, {"error": outcome.removeprefix("error=")}
    else:
        verdict, *facts = outcome.split()
        passes, expected = verdict == "passed", dict(fact.split("=") for fact in facts)
    columns = [(name.partition(" ")[0], name.partition(" ")[2]) for name in header[1:]]
    rows = [(row, cells) for row, *cells in lines]
    return Rule(title, kind, dict(option.split("=") for option in options), passes, expected, columns, rows)


def judge(found: Rule, result: Any, source: str = "source", target: str = "target") -> None:
    """Hold a result against the example."""
    assert result.passed == found.passes, result.message
    if "error" in found.expected:
        assert found.expected["error"].replace("source", source).replace("target", target) in result.message
        return
    counts = {kind: result.metrics.get(f"{kind}_count", 0) for kind in ("missing", "extra", "different", "repeated")}
    expected = {kind: int(found.expected.get(kind, 0)) for kind in counts}
    if found.kind != "rowcount" or "partition" in found.options:
        assert counts == expected, result.message
    if "not_compared" in found.expected:
        assert f"not compared: {found.expected['not_compared'].replace(',', ', ')}" in result.message


def texts() -> list[tuple[str, str, str]]:
    """Return type, value and canonical text of each line of the page's table."""
    lines = PAGE.read_text().partition("| kind | text |")[2].partition("\n\n")[0].splitlines()[2:]
    found = []
    for line in lines:
        *_, example, outcome = (cell.strip() for cell in line.strip("|").split("|"))
        kind, _, value = example.partition(" ")
        found.append((kind, value, outcome.strip("`")))
    return found
