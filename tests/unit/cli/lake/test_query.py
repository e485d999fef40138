from __future__ import annotations

import argparse
import csv
import datetime
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.cli.lake.query import query, run
from airflow_provider_phlo.cli.terminal.errors import REFUSED
from airflow_provider_phlo.cli.terminal.output import Result, plain, write_csv, write_json, write_table
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from tests.expect import expect
from tests.lake import open_lake
from tests.patience import PATIENCE

TAKEN = datetime.datetime(2024, 1, 15, 6, 30, tzinfo=datetime.UTC)


def fill(home: Path) -> Catalog:
    catalog = open_lake(home)
    for namespace in ("raw", "marts"):
        ensure_namespace(catalog, namespace)
    readings = pa.table(
        {
            "id": ["a", "b", None],
            "value": [1.5, float("nan"), None],
            "taken_at": pa.array([TAKEN, TAKEN, None], pa.timestamp("us", tz="UTC")),
            "price": pa.array([Decimal("1.10"), None, Decimal("2.00")], pa.decimal128(9, 2)),
        }
    )
    for name, data in (("raw.readings", readings), ("marts.daily", pa.table({"day": ["2024-01-15"], "n": [2]}))):
        catalog.create_table(name, schema=data.schema).append(data)
    return catalog


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return fill(tmp_path_factory.mktemp("home"))


def test_joins_tables_of_two_namespaces(catalog: Catalog) -> None:
    result = run(catalog, "SELECT d.n, count(*) AS c FROM raw.readings r CROSS JOIN marts.daily d GROUP BY 1")
    assert result == Result(["n", "c"], [(2, 3)])


def test_needs_no_table(catalog: Catalog) -> None:
    assert run(catalog, "SELECT 1 AS one").rows == [(1,)]


@pytest.mark.parametrize("sql", ["SHOW ALL TABLES", "show tables from raw", "SELECT * FROM information_schema.tables"])
def test_lists_tables(catalog: Catalog, sql: str) -> None:
    assert any("readings" in map(str, row) for row in run(catalog, sql).rows)


@pytest.mark.parametrize("sql", ["DESCRIBE raw.readings", "describe select * from raw.readings"])
def test_describes(catalog: Catalog, sql: str) -> None:
    assert [row[0] for row in run(catalog, sql).rows] == ["id", "value", "taken_at", "price"]


@pytest.mark.parametrize("sql", ["WITH r AS (FROM raw.readings) SELECT count(*) FROM r", "FROM RAW.Readings"])
def test_finds_tables_however_they_are_named(catalog: Catalog, sql: str) -> None:
    assert run(catalog, sql).rows


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("raw.reading", "raw.readings"),
        ("readings", "raw.readings"),
        ("zzz.nothing", "Tables: marts.daily, raw.readings"),
    ],
)
def test_unknown_table_names_what_is_near(catalog: Catalog, table: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        run(catalog, f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM raw.readings",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET memory_limit = '1GB'",
        "ATTACH '/tmp/other.db'",
        "",
    ],
)
def test_refuses_all_but_reading(catalog: Catalog, sql: str) -> None:
    with pytest.raises(ConfigurationError):
        run(catalog, sql)


def test_reads_no_file_outside_the_warehouse(catalog: Catalog, tmp_path: Path) -> None:
    import duckdb

    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises((duckdb.Error, ConfigurationError)):
        run(catalog, f"SELECT * FROM read_csv('{secret}')")


# --- output -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (Decimal("1.10"), "1.10"),
        (TAKEN, "2024-01-15T06:30:00+00:00"),
        (datetime.date(2024, 1, 15), "2024-01-15"),
        (b"\x01\xff", "01ff"),
        (True, True),
        ({"a": [TAKEN.date()]}, {"a": ["2024-01-15"]}),
    ],
)
def test_plain_values(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def written(writer: Any, result: Result) -> str:
    out = io.StringIO()
    writer(result, out)
    return out.getvalue()


def test_json_is_a_list_of_objects(catalog: Catalog) -> None:
    result = run(catalog, "SELECT * FROM raw.readings ORDER BY id NULLS LAST")
    assert json.loads(written(write_json, result)) == [
        {"id": "a", "value": 1.5, "taken_at": "2024-01-15T06:30:00+00:00", "price": "1.10"},
        {"id": "b", "value": None, "taken_at": "2024-01-15T06:30:00+00:00", "price": None},
        {"id": None, "value": None, "taken_at": None, "price": "2.00"},
    ]


def test_json_of_nothing() -> None:
    assert json.loads(written(write_json, Result(["a"], []))) == []


def test_json_keeps_columns_of_one_name(catalog: Catalog) -> None:
    result = run(catalog, "SELECT 1 AS id, 2 AS id, 3 AS id")
    assert json.loads(written(write_json, result)) == [{"id": 1, "id_2": 2, "id_3": 3}]


def test_csv_quotes_and_leaves_null_empty() -> None:
    text = written(write_csv, Result(["a", "b"], [('x,"y"\n', None), ("z", 1)]))
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ['x,"y"\n', ""], ["z", "1"]]


def test_csv_distinguishes_null_from_empty_text() -> None:
    rows = [(None, "", "x"), ("", None, 'a,"b"\n'), (None, None, " "), ("", "", 1)]
    text = written(write_csv, Result(["a", "b", "c"], rows))
    assert text == 'a,b,c\n,"",x\n"",,"a,""b""\n"\n,, \n"","",1\n'
    read = arrow_csv.read_csv(
        io.BytesIO(text.encode()),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys("abc", pa.string()), strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert list(zip(*read.to_pydict().values(), strict=True)) == [
        tuple(value if value is None else str(value) for value in row) for row in rows
    ]
    assert written(write_csv, Result(["a"], [(None,), ("",), ("x",)])) == 'a\n""\n""\nx\n'


def test_csv_has_nan_and_infinity() -> None:
    rows = [(float("nan"), float("inf"), float("-inf")), (0.5, 1e300, None)]
    text = written(write_csv, Result(["a", "b", "c"], rows))
    assert text == "a,b,c\nnan,inf,-inf\n0.5,1e+300,\n"


def test_table_aligns_and_counts() -> None:
    result = Result(["name", "n"], [("a", 1), (None, 23456)])
    assert written(write_table, result) == "name       n\n----  ------\na          1\n      23,456\n(2 rows)\n"
    exact = replace(result, exact=True)
    assert written(write_table, exact) == "name      n\n----  -----\na         1\nNULL  23456\n(2 rows)\n"


def test_a_table_for_people_has_no_json_and_no_empty_column() -> None:
    rows = [(["a", "b"], {"k": 1}, True, None, "", TAKEN)]
    result = Result(["list", "object", "flag", "nothing", "empty", "at"], rows)
    text = written(write_table, replace(result, counted=False))
    assert text.splitlines()[2] == "a, b  k 1     yes   2024-01-15 06:30 UTC"
    exact = written(write_table, replace(result, exact=True))
    assert '["a", "b"]  {"k": 1}  true     NULL  ' in exact


def test_letters_that_take_two_columns_are_aligned() -> None:
    lines = written(write_table, Result(["n", "m"], [("東京", "x"), ("abcd", "y")])).splitlines()
    assert lines[2:4] == ["東京  x", "abcd  y"]


@pytest.mark.parametrize("columns", [40, 10])
def test_a_narrow_terminal_gets_a_block_for_each_row(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    write_table(Result(["table", "what it did"], [("raw.readings", "a text of many words " * 3), ("b", "c")]), out)
    lines = out.getvalue().splitlines()
    assert all(len(line) <= max(columns, 20) for line in lines)
    assert "".join(lines).count("words") == 2 or columns < 40
    assert lines[-1] == "(2 rows)"


def test_table_of_nothing_has_its_header() -> None:
    assert written(write_table, Result(["name"], [])) == "name\n----\n(0 rows)\n"


def test_table_cannot_be_used_to_steer_a_terminal() -> None:
    text = written(write_table, Result(["a"], [("\x1b[2Jx\n" + "y" * 100,)]))
    assert "\x1b" not in text
    assert text.count("\n") == 4
    assert text.splitlines()[2].endswith("…")


# --- the command --------------------------------------------------------------------------------------------


def test_refusal_ends_with_2_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/nowhere")
    with pytest.raises(SystemExit) as ended:
        cli.main(["query", "DROP TABLE raw.readings"])
    assert ended.value.code == REFUSED
    assert "Only reading" in capsys.readouterr().err


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "query" in capsys.readouterr().out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("phlo")
    fill(home)
    return home


def phlo(
    home: Path, *arguments: str, program: tuple[str, ...] = ("phlo",), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed program as a user without any Airflow set up would."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    programs = Path(sys.executable).parent
    return subprocess.run(
        [programs / program[0], *program[1:], "query", *arguments],
        env={**clean, "PHLO_HOME": str(home), "HOME": str(home / "nobody")},
        cwd=cwd or home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.long
def test_program_prints_json_alone(home: Path) -> None:
    done = phlo(home, "SELECT count(*) AS n FROM raw.readings", "--output", "json")
    assert json.loads(done.stdout) == [{"n": 3}], done.stderr
    assert not (home / "nobody").exists()  # no Airflow home was made on the way


@pytest.mark.long
def test_program_reports_an_unknown_table_with_1(home: Path) -> None:
    done = phlo(home, "SELECT * FROM raw.reading")
    expect(done, returncode=1, stdout="")
    assert done.stderr.strip().endswith("Table raw.reading does not exist. Did you mean raw.readings?")
    assert "Traceback" not in done.stderr


def test_program_says_when_there_is_nothing_to_query(tmp_path: Path) -> None:
    done = phlo(tmp_path / "missing", "SELECT 1", cwd=tmp_path)
    assert done.returncode == 2
    assert "phlo init" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_airflow_phlo_is_the_same(home: Path) -> None:
    done = phlo(home, "SELECT count(*) AS n FROM raw.readings", "-o", "csv", program=("airflow", "phlo"))
    assert done.stdout == "n\n3\n", done.stderr


def test_case_58_a_branch_is_read(run_phlo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    table = fill(tmp_path).load_table("raw.readings")
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "phlo_x").commit()
    table.append(table.scan(limit=1).to_arrow(), branch="phlo_x")
    sql = "SELECT count(*) AS n FROM raw.readings CROSS JOIN marts.daily"
    assert run_phlo("query", sql, "-o", "csv") == (0, "n\n3\n", "")
    assert run_phlo("query", sql, "-o", "csv", "--branch", "phlo_x") == (0, "n\n4\n", "")
    code, out, err = run_phlo("query", sql, "--branch", "phlo_y")
    assert (code, out) == (1, "")
    assert "has the branch phlo_y. Branches: phlo_x." in err


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1 AS n", [{"n": 1}]),
        ("WITH t AS (SELECT 2 AS n) SELECT n FROM t", [{"n": 2}]),
        ("SELECT count(*) AS n FROM range(5)", [{"n": 5}]),
        ("SELECT TIMESTAMPTZ '2024-01-15 01:00:00+02:00' AS n", [{"n": "2024-01-14T23:00:00+00:00"}]),
    ],
)
def test_a_statement_that_reads_no_table_opens_no_catalog(run_phlo, monkeypatch, sql, rows):
    def refuse():
        raise AssertionError("the catalog was opened")

    monkeypatch.setattr("airflow_provider_phlo.cli.lake.query.open_catalog", refuse)
    code, out, _ = run_phlo("query", sql, "--output", "json")
    assert (code, json.loads(out)) == (0, rows)


@pytest.mark.parametrize("sql", ["SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd.csv'"])
def test_a_statement_that_reads_no_table_reads_no_file_either(run_phlo, sql):
    code, out, err = run_phlo("query", sql)
    assert (code != 0, out) == (True, "")
    assert "root" not in err


@pytest.mark.parametrize(("name", "hint"), [("shop.order-lines", 'shop."order-lines"'), ("raw.2024_x", 'raw."2024_x"')])
def test_a_name_that_has_to_be_quoted_is_shown_quoted(run_phlo, name, hint):
    code, _, err = run_phlo("query", f"SELECT * FROM {name} WHERE a = 'it'")
    assert (code, f"If {name} is a table, write {hint}." in err) == (2, True), err


def test_levels_of_a_namespace_are_quoted_as_one(run_phlo):
    code, _, err = run_phlo("query", "SELECT * FROM sales.eu.orders AS o WHERE o.a.b = 1")
    assert (code, 'write "sales.eu"."orders" for a table in a namespace of several levels' in err) == (1, True), err


def in_parquet(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capture: pytest.CaptureFixture[bytes],
    sql: str,
    branch: str | None = None,
) -> pa.Table:
    monkeypatch.setenv("PHLO_HOME", str(home))
    query(argparse.Namespace(sql=sql, output="parquet", branch=None))
    return parquet.read_table(pa.BufferReader(capture.readouterr().out))


def test_parquet_has_the_types_and_values_of_the_table(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    found = in_parquet(home, monkeypatch, capfdbinary, "SELECT * FROM raw.readings ORDER BY id NULLS LAST")
    assert found["id"].to_pylist() == ["a", "b", None]
    assert found["price"].to_pylist() == [Decimal("1.10"), None, Decimal("2.00")]
    assert found["taken_at"].to_pylist() == [TAKEN, TAKEN, None]
    assert str(found["value"].to_pylist()) == "[1.5, nan, None]"


def test_parquet_of_many_rows_and_of_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sql = "SELECT range n, '' AS t, NULL::VARCHAR AS u, range n FROM range({})"
    found = in_parquet(home, monkeypatch, capfdbinary, sql.format(250_001))
    assert found.column_names == ["n", "t", "u", "n_2"]
    assert found["n_2"].to_pylist() == list(range(250_001))
    assert (found["t"][0].as_py(), found["u"][0].as_py()) == ("", None)
    empty = in_parquet(home, monkeypatch, capfdbinary, sql.format(0))
    assert (empty.num_rows, empty.column_names) == (0, found.column_names)
    assert in_parquet(home, monkeypatch, capfdbinary, "SELECT 9::HUGEINT AS n")["n"].to_pylist() == [Decimal(9)]


@pytest.mark.parametrize(
    "value", ["INTERVAL 1 DAY", "'101'::BIT", "[TIMETZ '10:00+02']", "{'a': 1::UHUGEINT}", "union_value(a := 1)"]
)
def test_parquet_refuses_types_that_it_lacks(run_phlo: Any, value: str) -> None:
    code, out, err = run_phlo("query", f"SELECT 1 AS n, {value} AS odd", "--output", "parquet")
    assert (code, out) == (1, "")
    assert "odd (" in err
    assert "cast it" in err


def test_parquet_is_not_for_terminals(run_phlo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, _, err = run_phlo("query", "SELECT 1", "--output", "parquet")
    assert code == REFUSED
    assert "> result.parquet" in err
