"""No list of arguments makes a command end in a traceback."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import subprocess
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.cli.definition import COMMANDS
from airflow_provider_phlo.cli.lake import facts, lineage_graph
from airflow_provider_phlo.cli.terminal import environment
from airflow_provider_phlo.cli.terminal.arguments import Argument, Command, Group
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
from airflow_provider_phlo.iceberg.branches.expiry import Retention
from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only
from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions
from airflow_provider_phlo.services.postgres.server import stop_postgres
from tests.lake import create_table, open_lake
from tests.sizes import size

ROOT = Path(__file__).parents[4]
LISTS = size(2_000, 20_000)


@pytest.mark.parametrize(
    "sql",
    [
        "/* x */ EXPLAIN SELECT 1",
        "-- x\nexplain /* y */ analyze -- z\n SELECT 'ü' AS \"analyze\"",
        "EXPLAIN (FORMAT json) SELECT 1",
        "; EXPLAIN (ANALYZE, FORMAT json) (SELECT 1)",
        "EXPLAIN (SELECT 1)",
        "/* EXPLAIN */ SELECT 1 -- EXPLAIN",
    ],
)
def test_case_56_statements_with_comments_and_options(run_phlo, home: Path, sql: str) -> None:
    assert run_phlo("query", sql)[::2] == (0, "")


@pytest.mark.parametrize("sql", ["EXPLAIN DELETE FROM raw.t", "/**/ EXPLAIN /**/ ANALYZE COPY (SELECT 1) TO '/tmp/x'"])
def test_case_56_what_is_explained_only_reads(sql: str) -> None:
    with pytest.raises(ConfigurationError):
        assert_read_only(sql)


def test_case_56_bytes_that_are_not_text(run_phlo, home: Path) -> None:
    for argument in (b"SELECT '\xff'", b"raw.\xed\xa0\x80"):
        text = os.fsdecode(argument)
        for command in (("query", text), ("catalog", "describe", text), ("maintenance", "plan", "raw.*", text)):
            code, out, err = run_phlo(*command)
            assert (code, out) == (2, ""), command
            assert "not valid UTF-8" in err


@pytest.mark.parametrize("days", [float("nan"), float("inf"), -1, 1e300])
def test_case_56_ages_are_numbers_of_days(run_phlo, home: Path, days: float) -> None:
    for flag in ("--orphan-days", "--snapshot-days", "--branch-days"):
        code, _, err = run_phlo("maintenance", "plan", "raw.*", f"{flag}={days}")
        assert code == 2
        assert "is not a number of days" in err
    for options in (
        lambda: MaintenanceOptions(orphan_days=days),
        lambda: Retention(snapshot_days=days),
        lambda: Retention(branch_days=days),
    ):
        with pytest.raises(ConfigurationError, match="days from 0 to"):
            options()


@pytest.mark.long
@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a%b", "a b+ü", "a;b&c=d", "?timeout=1"])
def test_case_56_everything_lies_in_phlo_home(
    run_phlo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = tmp_path / name
    monkeypatch.setenv("PHLO_HOME", str(home))
    table = create_table(PhloIcebergHook().catalog, "raw.t", pa.table({"id": [1, 2, 3]}))
    assert (home / "catalog.db").stat().st_size
    assert list((home / "warehouse").rglob("*.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert table.scan().to_arrow().num_rows == 3
    assert run_phlo("query", "SELECT count(*) AS n FROM raw.t", "-o", "csv") == (0, "n\n3\n", "")
    assert run_phlo("maintenance", "run", "raw.t")[0] == 0


def test_case_56_airflows_database_lies_in_phlo_home(tmp_path: Path) -> None:
    from sqlalchemy import make_url

    from airflow_provider_phlo.services.environment import embedded

    home = tmp_path / "a?b#c%20d"
    embedded.prepare(home)
    url = embedded.airflow_environment(home, ROOT)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert make_url(url).database == str(home / "airflow" / "airflow.db")


@pytest.mark.parametrize("sql", ["SELECT $1, '$HOME', `id`, \"$(touch x)\"", "SELECT $$a$$;", "SELECT '\\\\' \"#\""])
def test_case_56_make_passes_a_statement_on_as_it_is(sql: str) -> None:
    done = subprocess.run(
        ["make", "-s", "psql", f"SQL={sql}", "PY=printf '[%s]'"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith(f"[psql][-c][{sql}]"), done.stderr


def test_verbose_shows_where_an_error_came_from_without_values(run_phlo, home: Path) -> None:
    code, _, err = run_phlo("query", "SELECT CAST('canary' AS INTEGER)", "--verbose")
    assert code == 1
    assert "duckdb.py" in err or "query.py, line" in err
    assert "canary" not in err
    assert "Traceback" not in err


# --- any arguments --------------------------------------------------------------------------------------------

ODD = [
    "", " ", "-", "--", "-1", "0", "1", "nan", "inf", "1e999", "9" * 30, "x" * 300, "ü", "\u202e", "\x1b[2J", "\n", "%",
    "%s", "{}", "*", "?", "[", "[a", "..", ".", "a.b.c.d", "../../etc/passwd", "/dev/null", os.fsdecode(b"\xff"), "\0",
    "raw.", ".t", "raw.t", "RAW.T", "t", "raw.*", "raw.nothing", "main", "2024-01-15", "2024-13-45", "table", "json",
    "csv", "compaction", "orphans,expiry", ",", "--output", "--verbose", "-o", "--help", "--nothing", "--id", "--limit",
    "include.schemas:X", "os:path", "x.py:Y", "README.md:x", "dbt.yml:x", ":", "a:", ":b", "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999+23:59", "0001-01-01T00:00:00-23:59", "SELECT 1", "SELECT * FROM raw.t", "FROM t",
    "SELECT", "SELECT 1;;", "SELECT 1; SELECT 2", "/* x */ EXPLAIN SELECT 1", "EXPLAIN", "EXPLAIN EXPLAIN SELECT 1",
    "DESCRIBE raw.t", "SHOW TABLES", "SUMMARIZE raw.t", "PRAGMA version", "SELECT ?", "SELECT $a", "SELECT 'a",
    'SELECT "a', "SELECT id::DATE FROM raw.t", "SELECT 1/0", "SELECT repeat('x', 10)::INTEGER", "VALUES (1)",
    "SELECT " + "(" * 300 + "1" + ")" * 300, "SELECT " + "-" * 3000, "SELECT 1" + "+1" * 3000,
    "WITH a AS (FROM a) FROM a", "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT error('canary')", "SELECT DATE '99999-01-01'", "SELECT 'infinity'::TIMESTAMP", "SELECT INTERVAL 1 YEAR",
    "SELECT '290000-01-01'::TIMESTAMPTZ", "SELECT 170141183460469231731687303715884105727::HUGEINT", "SELECT '\x00'",
    "SELECT MAP {1: NULL, 2: [1]}", "SELECT NULL::STRUCT(a INT)", "SELECT '1.5'::BIT", "SELECT uuid()",
    "SELECT 1 a, 2 a",
]  # fmt: skip


def _commands(items: Sequence[Command | Group] = COMMANDS, above: tuple[str, ...] = ()) -> Iterator[tuple]:
    for item in items:
        if isinstance(item, Group):
            yield from _commands(item.commands, (*above, item.name))
        else:
            yield (*above, item.name), item


def _given(rng: random.Random, argument: Argument) -> list[str]:
    """Return an argument as somebody might give it: mostly as it is meant, with any value."""
    flag = [rng.choice(argument.flags)] if argument.flags[0].startswith("-") else []
    if argument.options.get("action") == "store_true":
        return flag if rng.random() < 0.3 else []
    if flag and rng.random() < 0.6:
        return []
    pool = [*argument.options.get("choices", ()), "raw.t"] if rng.random() < 0.4 else ODD
    return [*flag, *rng.choices(pool, k=rng.choice([1, 1, 1, 1, 0, 2]))]


def _lists(rng: random.Random) -> Iterator[list[str]]:
    commands = list(_commands())
    for number in range(LISTS):
        names, command = commands[number % len(commands)]
        given = [_given(rng, argument) for argument in command.arguments]
        rng.shuffle(given)
        yield [*names, *(part for parts in given for part in parts)]


def _outcome(arguments: Sequence[str]) -> tuple[object, str | None]:
    """Run one command in this process; return its exit code, and what is wrong with how it ended."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:  # noqa: BLE001 - whatever comes out is what this looks for
            return None, traceback.format_exc()
    if code not in (0, 1, 2):
        return code, f"exit code {code!r}"
    if "Traceback" in err.getvalue() or "Traceback" in out.getvalue():
        return code, err.getvalue()
    return code, None if code == 0 or err.getvalue() else "it failed and said nothing"


def _read_here(_: Path) -> tuple[dict[str, Any], ...]:
    return tuple({"facts": read().to_json()} for read in (facts._of_dags, facts._of_catalog))


@pytest.mark.long
def test_case_56_no_arguments_make_a_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "enter_project_environment", lambda **_: None)
    # what lineage reads of DAGs and catalog in programs of its own, seconds each, is read here, once
    monkeypatch.setattr(lineage_graph, "_kept_or_read", functools.cache(_read_here))
    # a server that is started stays
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    monkeypatch.chdir(home)
    create_table(
        open_lake(home), "raw.t", pa.table({"id": [1, 2], "at": pa.array([0, 1], pa.timestamp("us", tz="UTC"))})
    )
    seed = int(os.environ.get("PHLO_SEED", "56"))
    try:
        outcomes = [(given, *_outcome(given)) for given in _lists(random.Random(seed))]
    finally:
        stop_postgres(home)  # a load into a warehouse has started it
    wrong = [(given, said) for given, _, said in outcomes if said is not None]
    assert not wrong, f"seed {seed}: {len(wrong)} of {LISTS}, first {wrong[0][0]}:\n{wrong[0][1]}"
    # it is not only the parser that is tried; commands that need an Airflow are refused here
    codes = Counter(code for _, code, _ in outcomes)
    assert min(codes[0], codes[1]) > LISTS / 100, codes
