"""Tables beside what was promised of them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    DateType,
    IcebergType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
)

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.model.contract import Column, Promise
from airflow_provider_phlo.contracts.model.types import promised_type
from airflow_provider_phlo.contracts.rules.validation import validate
from tests.lake import open_lake

SKUS = ListType(6, StructType(NestedField(7, "sku", StringType())))
SCHEMA = Schema(
    NestedField(1, "id", StringType(), required=True),
    NestedField(2, "value", LongType()),
    NestedField(3, "day", DateType()),
    NestedField(5, "lines", SKUS),
    NestedField(8, "odd.name", LongType()),
)
SPEC = PartitionSpec(PartitionField(3, 1000, IdentityTransform(), "day"))


def problems(*columns: Column, partitioned_by: tuple[str, ...] = ()) -> dict[str, tuple[str, bool]]:
    promise = Promise("raw.t", columns, partitioned_by=partitioned_by)
    return {each.column: (each.problem, each.blocking) for each in validate(promise, SCHEMA, SPEC)}


def column(name: str, kind: str | None = None, **rest: object) -> Column:
    return Column(name, promised_type(kind) if kind else None, **rest)  # type: ignore[arg-type]


def test_a_table_that_is_as_promised_and_has_more() -> None:
    assert problems(
        column("id", "string", required=True),
        column("odd.name", "long"),
        column("lines", "array", members=(column("sku", "string"),)),
        partitioned_by=("day",),
    ) == {}  # fmt: skip


def test_a_column_that_is_missing_or_of_another_type() -> None:
    found = problems(column("vlaue", "long"), column("value", "string"), column("day", "timestamp"))
    assert found["vlaue"] == ("the table has no such column. Did you mean value?", True)
    assert found["value"] == ("the contract says string, the table has long", True)
    assert found["day"] == ("the contract says timestamp, the table has date", True)


def test_a_column_that_may_be_null_is_said_and_does_not_break() -> None:
    assert problems(column("value", "long", required=True))["value"][1] is False


def test_members_of_structs_in_lists() -> None:
    found = problems(
        column("lines", "list", members=(column("sku", "long"), column("price"))), column("id", members=(column("x"),))
    )
    assert found["lines.sku"] == ("the contract says long, the table has string", True)
    assert found["lines.price"] == ("the table has no such column", True)
    assert found["id"] == ("it has no members, it is string", True)


def test_what_lists_and_structs_hold_and_how_wide_numbers_are() -> None:
    found = problems(column("lines", "list<struct<sku: long>>"), column("value", "int"), column("id", "list<string>"))
    assert found["lines"][0].startswith("the contract says list<struct<sku: long>>, the table has list<struct<sku: ")
    assert found["value"] == ("the contract says int, the table has long", True)
    assert found["id"] == ("the contract says list<string>, the table has string", True)
    assert problems(column("lines", "list<struct<sku: string>>"), column("value", "long")) == {}


def test_partitioning() -> None:
    found = problems(partitioned_by=("day", "id"))
    assert found == {"id": ("the contract says that the table is partitioned by it; it is by day", True)}


def test_items_and_maps_of_the_standard(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("""
apiVersion: v3.1.0
kind: DataContract
id: c
version: 1.0.0
status: active
schema:
  - name: t
    properties:
      - {name: tags, logicalType: array, items: {logicalType: string}}
      - {name: sums, logicalType: array, items: {logicalType: array, items: {logicalType: integer}}}
      - {name: by, logicalType: map, map: {key: {logicalType: string}, value: {logicalType: number}}}
      - {name: lines, logicalType: array, items: {logicalType: object, properties: [{name: sku, logicalType: string}]}}
""")
    (promise,) = read_contract(path).promises
    assert [each.type and each.type.text for each in promise.columns] == [
        *("array<string>", "array<array<integer>>", "map<string, number>", "array")
    ]

    def broken(item: IcebergType) -> set[str]:
        lines = ListType(9, StructType(NestedField(10, "sku", StringType())))
        fields = (ListType(5, item), ListType(6, ListType(7, item)), MapType(11, StringType(), 12, item), lines)
        names = ("tags", "sums", "by", "lines")
        schema = Schema(*(NestedField(place, *named) for place, named in enumerate(zip(names, fields, strict=True), 1)))
        return {each.column for each in validate(promise, schema)}

    assert broken(LongType()) == {"tags"}
    assert broken(StringType()) == {"sums", "by"}


CONTRACT = """
name: sales
version: 1.0.0
table: {table}
schema: {{required_columns: [{{name: id, type: {kind}}}]}}
consumers: [{{name: finance}}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "include" / "contracts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / ".phlo"))
    catalog = open_lake(tmp_path / ".phlo")
    catalog.create_namespace_if_not_exists("shop")
    catalog.create_table("shop.orders", schema=pa.schema([("id", pa.int64())]))
    return tmp_path


def write(project: Path, table: str = "shop.orders", kind: str = "long", name: str = "sales.yaml") -> None:
    (project / "include" / "contracts" / name).write_text(CONTRACT.format(table=table, kind=kind))


def test_the_command_says_what_is_broken_for_whom(project: Path, run_phlo) -> None:
    write(project, kind="string")
    code, out, err = run_phlo("contract", "validate")
    assert code == 1
    assert "the contract says string, the table has long" in out
    assert "sales is broken: it is relied on by finance" in err


def test_a_contract_that_nobody_owns_is_broken(project: Path, run_phlo) -> None:
    write(project)
    code, out, _ = run_phlo("contract", "validate", "sales")
    assert (code, "nobody owns the contract" in out) == (1, True)
    path = project / "include" / "contracts" / "sales.yaml"
    path.write_text(path.read_text() + "owner: shop\n")
    assert run_phlo("contract", "validate", "sales")[:2] == (0, "1 contract: every table is as promised.\n")
    assert run_phlo("contract", "validate", str(path), "--output", "json")[:2] == (0, "[]\n")


def test_a_table_is_found_by_its_name_alone(project: Path, run_phlo) -> None:
    write(project, table="orders")
    assert "nobody owns" in run_phlo("contract", "validate")[1]
    assert "no such table" not in run_phlo("contract", "validate")[1]


def test_a_table_that_nobody_makes(project: Path, run_phlo) -> None:
    write(project, table="shop.other")
    code, out, _ = run_phlo("contract", "validate")
    assert (code, "there is no such table" in out) == (1, True)


def test_wrong_files_never_hide_the_others(project: Path, run_phlo) -> None:
    write(project, kind="string")
    (project / "include" / "contracts" / "wrong.yaml").write_text("name: x\n")
    (project / "include" / "contracts" / "twin.yaml").write_text(
        (project / "include" / "contracts" / "sales.yaml").read_text()
    )
    code, out, err = run_phlo("contract", "validate")
    assert code == 1
    assert "the contract says string" in out
    assert "wrong.yaml" in err
    assert "Several contracts are called sales" in err
    assert run_phlo("contract", "list")[0] == 1
    # one that is asked for by name waits for no other team; which of two is meant, nobody knows
    write(project, name="other.yaml", table="shop.other")
    other = project / "include" / "contracts" / "other.yaml"
    other.write_text(other.read_text().replace("sales", "other"))
    code, out, err = run_phlo("contract", "validate", "other")
    assert (code, "shop.other" in out, "wrong.yaml" in err) == (1, True, False)
    code, _, err = run_phlo("contract", "validate", "sales")
    assert (code, "Several contracts are called sales" in err) == (2, True)
    assert "wrong.yaml" in run_phlo("contract", "validate", "x")[2]  # may be what is wrong there


def test_what_is_wrong_and_where_is_never_cut(project: Path, run_phlo) -> None:
    write(project, kind="string", name="a_file_whose_name_is_longer_than_a_cell_of_a_table_is_wide_anyway.yaml")
    code, out, _ = run_phlo("contract", "validate")
    (line,) = (each for each in out.splitlines() if "the contract says string" in each)
    assert (code, re.search(r"wide_anyway\.yaml, line \d+$", line) is not None, "…" in line) == (1, True, False)


def test_names_that_are_not_there(project: Path, run_phlo) -> None:
    code, _, err = run_phlo("contract", "validate")
    assert (code, "There is no contract in" in err) == (2, True)
    write(project)
    code, _, err = run_phlo("contract", "show", "sale")
    assert (code, "Did you mean sales?" in err) == (2, True)
    assert run_phlo("contract", "show", "sales")[0] == 0


def test_only_those_who_rely_on_what_is_broken_are_named(project: Path, run_phlo) -> None:
    write(project, kind="string", name="a.yaml")
    good = CONTRACT.format(table="shop.orders", kind="long").replace("sales", "kept").replace("finance", "auditors")
    (project / "include" / "contracts" / "b.yaml").write_text(good + "owner: shop\n")
    code, _, err = run_phlo("contract", "validate")
    assert code == 1
    assert "sales is broken: it is relied on by finance" in err
    assert "auditors" not in err


def test_verdicts_as_junit(project: Path, run_phlo) -> None:
    write(project, kind="string")
    file = project / "include" / "contracts" / "sales.yaml"
    suite = ElementTree.fromstring(run_phlo("contract", "validate", "--output", "junit")[1])[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("sales", "2", "2")
    assert "Relied on by finance" in (suite[1][0].text or "")
    old = project / "old.yaml"
    old.write_text(file.read_text())
    file.write_text(file.read_text().replace("name: id", "name: other"))
    code, out, err = run_phlo("contract", "diff", str(old), str(file), "-o", "junit")
    assert (code, ElementTree.fromstring(out).get("failures")) == (1, "1")
    assert "it breaks its readers" in err
