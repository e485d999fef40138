"""docs/dlt.md: every public feature of the pinned dlt has a row, and every row an example."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import inspect
import json
import pkgutil
import re
import sqlite3
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import dlt.common.normalizers.naming as naming
import dlt.sources
import pyarrow as pa
import pytest
from dlt.common.pipeline import LoadInfo
from dlt.common.schema import typing as schema_typing
from dlt.extract import DltResource, DltSource
from dlt.extract.incremental import Incremental
from dlt.sources.filesystem import filesystem, read_csv_duckdb, read_jsonl
from dlt.sources.sql_database import sql_table

from airflow_provider_phlo.exceptions import ConfigurationError, ValidationError
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.terms import METADATA_COLUMNS

PAGE = Path(__file__).parents[3] / "docs" / "dlt.md"
ROWS = dict(re.findall(r"^\| `([^`]+)` \| (honoured|refused|same|no effect) \|", PAGE.read_text(), re.MULTILINE))
PLAN = StagingPlan("raw.orders", key=("id",))
DAY = "2024-01-15"
TWO = [{"id": 1, "v": 1}, {"id": 2, "v": 2}]


def parameters(function: Any) -> set[str]:
    return {name for name in inspect.signature(function).parameters if not name.startswith("_") and name != "self"}


def methods(kind: type) -> set[str]:
    wanted = re.compile(r"add_|with_|set_incremental|apply_|merge_|bind|parallelize|select_|clone|run")
    return {name for name in dir(kind) if wanted.match(name)}


def features() -> set[str]:
    """Return the public features of the installed dlt."""
    found = parameters(dlt.source) | parameters(dlt.resource) | parameters(dlt.transformer) - {"f"}
    found -= {"func", "f"}
    found |= {f"write_disposition: {each}" for each in typing.get_args(schema_typing.TWriteDisposition)}
    found |= {f"strategy: {each}" for each in schema_typing.MERGE_STRATEGIES}
    found |= {f"schema_contract: {each}" for each in typing.get_args(schema_typing.TSchemaEvolutionMode)}
    found |= {f"column: {each}" for each in schema_typing.TColumnSchema.__annotations__}
    found |= {f"mark: {each}" for each in dir(dlt.mark) if re.match(r"(with|make|materialize)_", each)}
    found |= {f"sources: {module.name}" for module in pkgutil.iter_modules(dlt.sources.__path__)}
    found |= {f"incremental: {each}" for each in parameters(Incremental.__init__)}
    found |= methods(DltResource) | methods(DltSource)
    ours = {"exceptions", "naming"}
    found |= {f"naming: {each.name}" for each in pkgutil.iter_modules(naming.__path__) if each.name not in ours}
    return found


def test_every_feature_of_dlt_has_a_row() -> None:
    # add_input is dlt's own: what connects a transformer
    assert features() - {"add_input"} == ROWS.keys()


class Run:
    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def batch(self, source: Any, plan: StagingPlan = PLAN, **values: Any) -> staged_batches.StagedBatch:
        self.count += 1
        found = stage(
            source if callable(source) and not isinstance(source, (DltResource, DltSource)) else lambda: source,
            plan,
            root=self.folder / "staging",
            token=f"t{self.count}",
            partition_date=DAY,
            run_id="r",
            pipelines_dir=self.folder / "dlt",
            **values,
        )
        assert found is not None
        return found

    def __call__(self, source: Any, plan: StagingPlan = PLAN, **values: Any) -> list[dict[str, Any]]:
        rows = staged_batches.read_rows(self.folder / "staging", self.batch(source, plan, **values))
        return rows.select([name for name in rows.column_names if name not in METADATA_COLUMNS]).to_pylist()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def resource(**hints: Any) -> DltResource:
    def rows() -> Any:
        yield from [dict(row) for row in TWO]

    return dlt.resource(rows, **{"name": "orders", **hints})


def marked(*marks: Callable[[dict[str, Any]], Any]) -> DltResource:
    @dlt.resource(name="orders")
    def items() -> Any:
        for row, mark in zip(TWO, marks, strict=True):
            yield mark(dict(row))

    return items()


def hints_on_second(**hints: Any) -> DltResource:
    made = dlt.mark.make_hints(**hints)
    return marked(lambda row: row, lambda row: dlt.mark.with_hints(row, made))


def column(**hints: Any) -> DltResource:
    return resource(columns={"v": hints})


def source(**arguments: Any) -> DltSource:
    names = {} if "schema" in arguments else {"name": "shop"}
    return dlt.source(lambda: resource(), **{**names, **arguments})()


def with_tables() -> dlt.Schema:
    schema = dlt.Schema("shop")
    schema.update_table({"name": "orders", "columns": {"v": {"name": "v", "data_type": "text"}}})
    return schema


# what is refused: the source, and how the message names it
REFUSED: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "schema": [(lambda: source(schema=with_tables()), "schema")],
    "schema_contract": [
        (lambda: resource(schema_contract="freeze"), "schema_contract"),
        (lambda: source(schema_contract={"columns": "freeze"}), "schema_contract"),
    ],
    "max_table_nesting": [
        (lambda: resource(max_table_nesting=2), "max_table_nesting=2"),
        (lambda: source(max_table_nesting=1), "max_table_nesting=1"),
    ],
    "root_key": [(lambda: source(root_key=True), "root_key=True")],
    "table_name": [
        (lambda: resource(table_name="others"), "table_name='others'"),
        (lambda: resource(table_name=lambda item: "orders"), "table_name=lambda"),
    ],
    "primary_key": [
        (lambda: resource(primary_key="v"), "primary_key v"),
    ],
    "merge_key": [(lambda: resource(merge_key=["id", "v"]), "merge_key id, v")],
    "table_format": [(lambda: resource(table_format="delta"), "table_format='delta'")],
    "file_format": [(lambda: resource(file_format="csv"), "file_format='csv'")],
    "references": [
        (
            lambda: resource(references=[{"columns": ["v"], "referenced_table": "x", "referenced_columns": ["id"]}]),
            "references",
        )
    ],
    "nested_hints": [(lambda: resource(nested_hints={"lines": {"columns": {}}}), "nested_hints")],
    "write_disposition: skip": [(lambda: resource(write_disposition="skip"), "write_disposition='skip'")],
    **{
        f"strategy: {name}": [
            (lambda name=name: resource(write_disposition={"disposition": "merge", "strategy": name}), name)
        ]
        for name in ("scd2", "insert-only")
    },
    "strategy: cdc": [
        (
            lambda: resource(write_disposition={"disposition": "merge", "strategy": "cdc", "cdc_config": {}}),
            "cdc",
        )
    ],
    **{
        f"schema_contract: {mode}": [(lambda mode=mode: resource(schema_contract={"columns": mode}), "schema_contract")]
        for mode in ("freeze", "discard_row", "discard_value")
    },
    "column: dedup_sort": [(lambda: column(dedup_sort="desc"), "dedup_sort of column 'v'")],
    "column: primary_key": [(lambda: column(primary_key=True), "primary_key v")],
    "column: merge_key": [(lambda: column(merge_key=True), "merge_key v")],
    **{
        f"column: {flag}": [(lambda flag=flag: column(**{flag: True}), f"{flag} of column 'v'")]
        for flag in ("unique", "partition", "cluster", "sort", "row_key", "parent_key", "root_key")
    },
    "mark: with_table_name": [
        (lambda: marked(dict, lambda row: dlt.mark.with_table_name(row, "others")), "with_table_name"),
    ],
    "mark: with_hints": [
        (lambda: hints_on_second(columns={"v": {"unique": True}}), "unique of column 'v'"),
        (
            lambda: marked(
                dict,
                lambda row: dlt.mark.with_hints(row, dlt.mark.make_hints(table_name="x"), create_table_variant=True),
            ),
            "create_table_variant",
        ),
    ],
    "mark: make_hints": [
        (lambda: hints_on_second(additional_table_hints={"x-a": 1}), "additional_table_hints"),
        (lambda: hints_on_second(parent_table_name="other"), "parent_table_name"),
        (lambda: hints_on_second(primary_key="v"), "primary_key v"),
    ],
    "mark: make_nested_hints": [
        (lambda: resource(nested_hints={"lines": dlt.mark.make_nested_hints(columns={})}), "nested_hints"),
    ],
    "mark: with_file_import": [
        (lambda: marked(dict, lambda row: dlt.mark.with_file_import("/x.parquet", "parquet", 1)), "with_file_import"),
        (lambda: [dlt.mark.with_file_import("/x.parquet", "parquet", 1)], "with_file_import"),
    ],
    "apply_hints": [(lambda: _applied(primary_key="v"), "primary_key v")],
    "merge_hints": [(lambda: _merged(merge_key="v"), "merge_key v")],
}


def _applied(**hints: Any) -> DltResource:
    found = resource()
    found.apply_hints(**hints)
    return found


def _merged(**hints: Any) -> DltResource:
    found = resource()
    found.merge_hints(dlt.mark.make_hints(**hints))
    return found


@pytest.mark.parametrize("feature", sorted(REFUSED))
def test_case_19_what_cannot_be_honoured_is_refused_by_name(run: Run, feature: str) -> None:
    for made, name in REFUSED[feature]:
        with pytest.raises(ConfigurationError, match=re.escape(name)) as caught:
            run(made())
        assert str(caught.value).startswith("raw.orders: dlt's ")
    assert not list(run.folder.rglob("manifest.json"))


def _cursor(**arguments: Any) -> DltResource:
    cursor = dlt.sources.incremental("v", **{"initial_value": 0, **arguments})

    @dlt.resource(name="orders")
    def items(at: Any = cursor) -> Any:
        yield [dict(row) for row in TWO]

    return items()


def _transformed() -> DltResource:
    return resource(name="keys") | dlt.transformer(lambda row: {**row, "v": row["v"] * 10}, name="orders")


def _hinted(items: Any, **hints: Any) -> DltResource:
    return dlt.resource(items, name="orders", columns={"v": {"name": "v", **hints}})


FIRST, SECOND = TWO[:1], TWO[1:]
# what works: the source, and its rows
WORKS: dict[str, list[tuple[Callable[[], Any], list[dict[str, Any]]]]] = {
    **{name: [(lambda name=name: source(**{name: "x"}), TWO)] for name in ("name", "section")},
    "data": [(lambda: dlt.resource([dict(row) for row in TWO], name="r"), TWO)],
    "data_from": [(_transformed, [{"id": 1, "v": 10}, {"id": 2, "v": 20}])],
    "selected": [(lambda: resource(selected=True), TWO)],
    "parallelized": [(lambda: resource(parallelized=True), TWO), (lambda: source(parallelized=True), TWO)],
    "incremental": [(lambda: resource(incremental=dlt.sources.incremental("v", initial_value=2)), SECOND)],
    "schema": [(lambda: source(schema=dlt.Schema("shop")), TWO)],
    "max_table_nesting": [(lambda: resource(max_table_nesting=0), TWO), (lambda: source(max_table_nesting=0), TWO)],
    "table_name": [(lambda: resource(name="r", table_name="orders"), TWO)],
    "write_disposition": [(lambda: resource(write_disposition="replace"), TWO)],
    "columns": [(lambda: resource(columns={"v": {"data_type": "double"}}), [{"id": 1, "v": 1.0}, {"id": 2, "v": 2.0}])],
    "primary_key": [(lambda: resource(primary_key="id"), TWO), (lambda: resource(primary_key=["ID"]), TWO)],
    "merge_key": [(lambda: resource(merge_key="id"), TWO)],
    "table_format": [(lambda: resource(table_format="iceberg"), TWO)],
    "file_format": [(lambda: resource(file_format="parquet"), TWO)],
    **{
        f"write_disposition: {name}": [(lambda name=name: resource(write_disposition=name), TWO)]
        for name in ("append", "replace", "merge")
    },
    **{
        f"strategy: {name}": [
            (lambda name=name: resource(write_disposition={"disposition": "merge", "strategy": name}), TWO)
        ]
        for name in ("delete-insert", "upsert")
    },
    "schema_contract: evolve": [(lambda: resource(schema_contract="evolve"), TWO)],
    "column: name": [
        (lambda: resource(columns=[{"name": "V", "data_type": "text"}]), [{"id": 1, "v": "1"}, {"id": 2, "v": "2"}])
    ],
    "column: data_type": [
        (
            lambda: _hinted([{"id": 1, "v": "7"}, {"id": 2, "v": "x"}], data_type="bigint"),
            [{"id": 1, "v": 7, "v__v_text": None}, {"id": 2, "v": None, "v__v_text": "x"}],
        ),
    ],
    "column: precision": [
        (
            lambda: _hinted([{"id": 1, "v": "1.5"}], data_type="decimal", precision=9, scale=2),
            [{"id": 1, "v": decimal.Decimal("1.50")}],
        )
    ],
    "column: scale": [
        (
            lambda: _hinted([{"id": 1, "v": 1}], data_type="decimal", precision=9, scale=1),
            [{"id": 1, "v": decimal.Decimal("1.0")}],
        )
    ],
    "column: timezone": [
        (
            lambda: _hinted([{"id": 1, "v": dt.datetime(2024, 1, 1)}], data_type="timestamp", timezone=False),
            [{"id": 1, "v": dt.datetime(2024, 1, 1)}],
        )
    ],
    "column: primary_key": [(lambda: resource(columns={"id": {"primary_key": True}}), TWO)],
    "column: merge_key": [(lambda: resource(columns={"id": {"merge_key": True}}), TWO)],
    "column: description": [(lambda: column(description="x"), TWO)],
    "column: variant": [(lambda: column(variant=True), TWO)],
    "column: incremental": [(lambda: column(incremental=True), TWO)],
    "column: x-normalizer": [(lambda: column(**{"x-normalizer": {}}), TWO)],
    "mark: with_table_name": [(lambda: marked(dict, lambda row: dlt.mark.with_table_name(row, "orders")), TWO)],
    "mark: with_hints": [(lambda: hints_on_second(columns={"w": {"data_type": "text"}}), TWO)],
    "mark: make_hints": [(lambda: hints_on_second(primary_key="id"), TWO)],
    "mark: materialize_table_schema": [
        (lambda: dlt.resource(iter([dlt.mark.materialize_table_schema(), *TWO]), name="r"), TWO)
    ],
    "sources: helpers": [(lambda: dlt.resource(iter(TWO), name="r").add_limit(5), TWO)],
    "incremental: cursor_path": [(lambda: _cursor(), TWO)],
    "incremental: initial_value": [(lambda: _cursor(initial_value=2), SECOND)],
    "incremental: last_value_func": [(lambda: _cursor(initial_value=1, last_value_func=min), FIRST)],
    "incremental: primary_key": [(lambda: _cursor(primary_key="id"), TWO)],
    "incremental: end_value": [(lambda: _cursor(end_value=2), FIRST)],
    "incremental: row_order": [(lambda: _cursor(row_order="asc"), TWO)],
    "incremental: on_cursor_value_missing": [(lambda: _cursor(on_cursor_value_missing="exclude"), TWO)],
    "incremental: lag": [(lambda: _cursor(lag=1), TWO)],
    "incremental: range_start": [(lambda: _cursor(initial_value=1, range_start="open"), SECOND)],
    "incremental: range_end": [(lambda: _cursor(end_value=2, range_end="closed"), TWO)],
    "add_filter": [(lambda: resource().add_filter(lambda row: row["id"] == 2), SECOND)],
    "add_limit": [(lambda: resource().add_limit(1), FIRST), (lambda: source().add_limit(1), FIRST)],
    "add_map": [(lambda: resource().add_map(lambda row: {**row, "v": 0}), [{"id": 1, "v": 0}, {"id": 2, "v": 0}])],
    "add_yield_map": [(lambda: resource().add_yield_map(lambda row: iter([row])), TWO)],
    "add_step": [(lambda: resource().add_step(lambda row, meta=None: row), TWO)],
    "add_metrics": [(lambda: resource().add_metrics(lambda items, meta, metrics: None), TWO)],
    "add_pipe": [(lambda: dlt.transformer(lambda row: row, name="orders", data_from=resource(name="k")), TWO)],
    "apply_hints": [(lambda: _applied(primary_key="id"), TWO)],
    "merge_hints": [(lambda: _merged(primary_key="id"), TWO)],
    "bind": [(lambda: dlt.resource(lambda n: iter(TWO[:n]), name="r").bind(1), FIRST)],
    "parallelize": [(lambda: resource().parallelize(), TWO), (lambda: source().parallelize(), TWO)],
    "with_name": [(lambda: resource().with_name("r"), TWO)],
    "with_resources": [(lambda: source().with_resources("orders"), TWO)],
    "clone": [(lambda: source().clone(), TWO)],
}
# rows of the page with a test of their own below
ELSEWHERE = {
    *("spec", "standalone", "set_incremental", "select_tables", "run"),
    *("column: nullable", "column: hard_delete", "incremental: allow_external_schedulers"),
    *(f"sources: {name}" for name in ("rest_api", "filesystem", "sql_database", "config", "credentials")),
    *(f"naming: {name}" for name in ("snake_case", "direct", "duck_case", "s3_tables", "sql_ci_v1", "sql_cs_v1")),
}


@pytest.mark.long
@pytest.mark.parametrize("feature", sorted(WORKS))
def test_case_19_what_is_honoured_works(run: Run, feature: str) -> None:
    for made, expected in WORKS[feature]:
        assert run(made()) == expected


def test_every_row_has_an_example() -> None:
    refused = {name for name, here in ROWS.items() if here in ("refused", "same")}
    works = {name for name, here in ROWS.items() if here != "refused"}
    assert refused - REFUSED.keys() - ELSEWHERE == set()
    assert works - WORKS.keys() - ELSEWHERE == set()


def test_case_17_a_file_import_is_refused(run: Run) -> None:
    [(made, _), _] = REFUSED["mark: with_file_import"]
    with pytest.raises(ConfigurationError, match=r"mark\.with_file_import cannot be honoured here: rows are read here"):
        run(made())


@pytest.mark.parametrize(("zone", "first", "last"), [("UTC", 0, 23), ("Europe/Berlin", -1, 22)])
def test_case_18_the_window_of_external_schedulers_is_the_day(run: Run, zone: str, first: int, last: int) -> None:
    midnight = dt.datetime(2024, 1, 15, tzinfo=dt.UTC)
    hours = [{"id": hour, "at": midnight + dt.timedelta(hours=hour)} for hour in range(-3, 30)]

    since = midnight.replace(year=2000)
    window = dlt.sources.incremental("at", initial_value=since, allow_external_schedulers=True)

    @dlt.resource(name="orders")
    def items(at: Any = window) -> Any:
        yield hours

    found = run(lambda: items(), zone=zone)
    assert [row["id"] for row in found] == list(range(first, last + 1))


def test_column_nullable(run: Run) -> None:
    rows = [{"id": 1, "v": 1}, {"id": 2, "v": None}]
    with pytest.raises(ValidationError, match="column 'v': check not_nullable fails for 1"):
        run(_hinted(rows, nullable=False))
    assert len(run(_hinted(rows, nullable=True))) == 2


def test_case_19_hard_delete_of_a_mark_is_honoured(run: Run) -> None:
    assert run.batch(hints_on_second(columns={"isGone": {"hard_delete": True}})).hard_delete == "is_gone"
    assert run.batch(_hinted(TWO, hard_delete=True)).hard_delete == "v"


def test_case_20_read_csv_duckdb_works(run: Run) -> None:
    with (run.folder / "a.csv").open("w") as file:
        csv.writer(file).writerows([["id", "v"], [1, "x"], [2, "y"]])
    expected = [{"id": 1, "v": "x"}, {"id": 2, "v": "y"}]
    for use_pyarrow in (False, True):
        files = filesystem(run.folder.as_uri(), file_glob="*.csv")
        assert run(lambda files=files, arrow=use_pyarrow: files | read_csv_duckdb(use_pyarrow=arrow)) == expected


def test_sources_filesystem_and_sql_database(run: Run) -> None:
    (run.folder / "a.jsonl").write_text("\n".join(map(json.dumps, TWO)) + "\n")
    assert run(lambda: filesystem(run.folder.as_uri(), file_glob="*.jsonl") | read_jsonl()) == TWO
    with sqlite3.connect(run.folder / "shop.db") as database:
        database.execute("create table orders (id integer primary key, v integer not null)")
        database.executemany("insert into orders values (:id, :v)", TWO)
    database.close()
    assert run(lambda: sql_table(f"sqlite:///{run.folder / 'shop.db'}", table="orders")) == TWO


@pytest.mark.parametrize("rows", [[(1, "a"), (2, "b")], [[(1, "a")]], [("a", "b")]], ids=repr)
def test_case_21_tuples_of_a_cursor_are_refused_clearly(run: Run, rows: Any) -> None:
    for yielded in (rows, iter(rows), dlt.resource(rows, name="r")):
        with pytest.raises(ConfigurationError, match=r"raw\.orders: the source yielded a tuple"):
            run(lambda yielded=yielded: yielded)


def test_case_21_a_blank_line_is_skipped(run: Run) -> None:
    lines = ['{"id": 1, "v": 1}\n', "\n", b"  \r\n", '{"id": 2, "v": 2}', ""]
    for yielded in (iter(lines), lines, [lines]):
        batch = run.batch(lambda yielded=yielded: yielded)
        assert (batch.read, batch.rows) == (2, 2)


@pytest.mark.parametrize("name", [row.partition(": ")[2] for row in ROWS if row.startswith("naming")])
def test_naming_conventions(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA__NAMING", name)
    wanted = dlt.Schema("x").naming.normalize_identifier("userEmail")
    assert run([{"id": 1, "userEmail": "a"}]) == [{"id": 1, wanted: "a"}]


def test_several_tables_of_one_resource(run: Run) -> None:
    with pytest.raises(ConfigurationError, match="table_name=lambda"):
        run(resource(table_name=lambda item: str(item["id"])).select_tables("1"))


def test_a_pipeline_of_ones_own(run: Run) -> None:
    loaded = LoadInfo(*[None] * 14)
    with pytest.raises(ConfigurationError, match="dlt's run cannot be honoured here: return the source"):
        run(loaded)


def test_set_incremental(run: Run) -> None:
    found = resource()
    found.set_incremental(dlt.sources.incremental("v", initial_value=2))
    assert run(found) == SECOND


def test_arrow_tables_are_watched_too(run: Run) -> None:
    assert run(dlt.resource(iter([pa.Table.from_pylist(TWO)]), name="orders")) == TWO


def test_a_resource_is_left_as_it_was(run: Run) -> None:
    found = resource()
    steps = len(found._pipe.steps)
    assert run(found) == run(found) == TWO
    assert len(found._pipe.steps) == steps
