"""Each kind of error of each library, raised by the library with a canary in the data: no word of it comes out."""

from __future__ import annotations

import errno
import json
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import dlt
import duckdb
import numpy as np
import orjson
import pandas as pd
import pandera.pandas as pa_pandas
import pendulum
import pyarrow as pa
import pyarrow.compute as pc
import pydantic
import pytest
import requests
import sqlalchemy as sa
from airflow.sdk.exceptions import AirflowException
from dlt.extract.exceptions import ResourceExtractionError
from pyiceberg.expressions import literal
from pyiceberg.schema import Schema
from pyiceberg.types import IntegerType, NestedField
from trino.exceptions import TrinoUserError

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, SchemaError, TransientError
from airflow_provider_phlo.library_errors import describe, keep_values_in, without_values
from airflow_provider_phlo.sql_errors import describe_duckdb, describe_trino, is_of_the_data, is_of_the_statement
from tests.canary import CANARY, has_canary, told

NOTES = pa.array([CANARY])


def in_duckdb(sql: str) -> Callable[[], Any]:
    def run() -> Any:
        with duckdb.connect() as connection:
            connection.register("notes", pa.table({"id": [1], "note": NOTES}))
            return connection.execute(sql).fetchall()

    return run


def in_sqlite(sql: str, *values: Any) -> Callable[[], Any]:
    def run() -> Any:
        with sa.create_engine("sqlite://").connect() as connection:
            connection.execute(sa.text("CREATE TABLE t (a TEXT CHECK (a < 'A'), b INT UNIQUE)"))
            return connection.execute(sa.text(sql), dict(zip("xyz", values, strict=False)))

    return run


def in_dlt(item: Any, **hints: Any) -> Callable[[], Any]:
    def run() -> Any:
        @dlt.resource(**hints)
        def visits() -> Any:
            yield item() if callable(item) else item

        return list(visits())

    return run


def raising(error: type[Exception], *arguments: Any) -> Callable[[], Any]:
    def run() -> Any:
        raise error(*arguments)

    return run


class _Checked(pa_pandas.DataFrameModel):
    note: str = pa_pandas.Field(isin=["a"])


class _Model(pydantic.BaseModel):
    note: int


LIBRARIES: dict[str, Callable[[], Any]] = {
    **{
        f"duckdb {sql}": in_duckdb(sql)
        for sql in (
            "SELECT CAST(note AS INT) FROM notes",
            "SELECT strptime(note, '%Y') FROM notes",
            "SELECT error(note) FROM notes",
            "SELECT nothing FROM (PIVOT notes ON note USING sum(id))",
            f"SELECT '{CANARY.replace(chr(39), chr(39) * 2)}'::JSON",
            f"SELECT '{CANARY}",
            f'SELECT "{CANARY}" FROM notes',
            f"SELECT * FROM read_parquet('/nothing/{CANARY.replace(chr(39), chr(39) * 2)}.parquet')",
            f'SELECT * FROM "{CANARY}"',
            "SELECT timestamp '2024-01-01' AT TIME ZONE note FROM notes",
        )
    },
    "arrow cast": lambda: NOTES.cast(pa.int64()),
    "arrow date": lambda: NOTES.cast(pa.date32()),
    "arrow array": lambda: pa.array([1, CANARY]),
    "arrow typed": lambda: pa.array([CANARY], pa.float64()),
    "arrow dictionary": lambda: pa.table({"a": [1]})[CANARY],
    "arrow timestamp": lambda: pc.strptime(NOTES, "%Y", "s"),
    "arrow struct": lambda: pa.array([{"a": 1}, CANARY]),
    "pandas": lambda: pd.Series([CANARY]).astype(int),
    "pandas date": lambda: pd.to_datetime([CANARY]),
    "pandas zone": lambda: pd.Timestamp("2024-01-01", tz=f"{CANARY}/x"),
    "zone": lambda: ZoneInfo(CANARY),
    "zone below another": lambda: ZoneInfo(f"{CANARY}/x"),
    "pendulum zone": lambda: pendulum.timezone(CANARY),
    "pandas key": lambda: pd.DataFrame({"a": [1]})[CANARY],
    "numpy": lambda: np.array([CANARY]).astype(float),
    "python int": lambda: int(CANARY),
    "python key": lambda: {}[CANARY],
    "python json": lambda: json.loads(f'{{"name": {CANARY}}}'),
    "python attribute": lambda: getattr("", CANARY),
    "python unicode": lambda: CANARY.encode("utf-16").decode("utf-8", errors="strict"),
    "python chained": lambda: _chained(),
    "python group": raising(ExceptionGroup, CANARY, [ValueError(CANARY)]),
    "pyiceberg literal": lambda: literal(CANARY).to(IntegerType()),
    "pyiceberg names": lambda: Schema(NestedField(1, "a", IntegerType())).find_field(CANARY),
    "pandera": lambda: _Checked.validate(pd.DataFrame({"note": [CANARY]})),
    "pandera lazy": lambda: _Checked.validate(pd.DataFrame({"note": [CANARY]}), lazy=True),
    "pydantic": lambda: _Model(note=CANARY),  # type: ignore[arg-type]
    "sqlalchemy parameters": in_sqlite("INSERT INTO t (a) VALUES (:x)", CANARY),
    "sqlalchemy statement": in_sqlite(f"SELECT '{CANARY}'"),
    "sqlalchemy path": in_sqlite("SELECT json_extract('{}', :x)", CANARY),
    "sqlite": lambda: sqlite3.connect(":memory:").execute(f"SELECT '{CANARY}'"),
    "dlt generator": in_dlt(lambda: int(CANARY)),
    "dlt cursor": lambda: list(
        dlt.resource([{"note": CANARY}], name="r").apply_hints(incremental=dlt.sources.incremental("missing"))
    ),
    "dlt cursor type": lambda: list(
        dlt.resource([{"at": CANARY}, {"at": 1}], name="r").apply_hints(incremental=dlt.sources.incremental("at"))
    ),
    "dlt type": lambda: dlt.resource(f"{CANARY}"),
    "dlt wrapped": raising(ResourceExtractionError, "visits", iter(()), CANARY, "generator"),
    "requests": lambda: requests.get(f"http://127.0.0.1:9/{CANARY}?token={CANARY}", timeout=1),
    "requests url": lambda: requests.get(f"http://[{CANARY}", timeout=1),
    "trino": raising(
        TrinoUserError,
        {"errorName": "INVALID_CAST_ARGUMENT", "message": f"Cannot cast '{CANARY}' to INT", "errorType": "USER_ERROR"},
        "q1",
    ),
    "trino syntax": raising(
        TrinoUserError, {"errorName": "SYNTAX_ERROR", "message": f"line 1:8: mismatched input '{CANARY}'"}, "q1"
    ),
    "file": lambda: Path(f"/nothing/name={CANARY}/part.parquet").read_bytes(),
}


def _chained() -> None:
    try:
        int(CANARY)
    except ValueError:
        raise RuntimeError("a row was wrong") from None


def raised_by(action: Callable[[], Any]) -> Exception:
    try:
        action()
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("name", LIBRARIES)
def test_case_34_no_error_of_a_library_says_a_value(name: str) -> None:
    error = raised_by(LIBRARIES[name])
    assert not has_canary(describe(error)), describe(error)
    safe = raised_by(keep_values_in(LIBRARIES[name]))
    assert isinstance(safe, PhloError)
    assert not has_canary(told(safe).replace(f'"{CANARY}"', "")), told(safe)
    # and it says something: the kind of the error, or of the one that it hides
    kinds = {type(error).__name__} | {type(each).__name__ for each in (error.__cause__, error.__context__) if each}
    assert any(kind in str(safe) for kind in kinds) or ":" in str(safe), str(safe)


@pytest.mark.parametrize("error", [SchemaError("column note is wrong"), AirflowException("the quota is used up")])
def test_what_somebody_says_on_purpose_is_passed_on_and_nothing_that_it_came_from(error: Exception) -> None:
    @keep_values_in
    def run() -> None:
        try:
            int(CANARY)
        except ValueError as cause:
            raise error from cause

    raised = raised_by(run)
    assert raised is error
    assert not has_canary(told(raised))


def test_what_a_source_says_on_purpose_comes_out_of_dlts_wrapping() -> None:
    def source() -> Any:
        raise AirflowException("the quota is used up")

    assert describe(raised_by(in_dlt(source))) == "the quota is used up"


def test_an_error_after_one_on_purpose_is_itself() -> None:
    def run() -> None:
        try:
            raise SchemaError("the first")
        except SchemaError:
            int(CANARY)

    assert "ValueError" in describe(raised_by(run))


def test_the_place_is_that_of_ones_own_code() -> None:
    assert describe(raised_by(LIBRARIES["pandas"])).startswith("ValueError in <lambda>, test_library_errors.py line ")


def test_only_sql_that_is_wrong_itself_is_not_tried_again() -> None:
    wrong = without_values(raised_by(in_duckdb("SELECT nothing FROM notes")))
    assert isinstance(wrong, ConfigurationError)
    assert isinstance(without_values(raised_by(in_duckdb("SELECT CAST(note AS INT) FROM notes"))), TransientError)


def test_a_map_that_duckdb_cannot_read_is_named() -> None:
    with pytest.raises(duckdb.Error) as found:
        duckdb.execute("SELECT map(['secret', 'secret'], [1, 2])")
    assert describe_duckdb(str(found.value)) == (
        "Invalid Input Error: a map has one of its keys twice, which DuckDB does not read: leave its column out"
    )


@pytest.mark.parametrize("line", ["2,secret", "2,is being converted as type SECRET"])
def test_a_line_of_a_file_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "seed.csv").write_text(f"id,n\n1,2\n{line}\n")
    connection = duckdb.connect()
    connection.execute("CREATE TABLE seed (id int, n int)")
    with pytest.raises(duckdb.Error) as found:
        connection.execute(f"COPY seed FROM '{tmp_path}/seed.csv' (FORMAT CSV, HEADER TRUE, DELIMITER ',')")
    assert describe_duckdb(str(found.value)) == (
        "Conversion Error: a value cannot be converted to INTEGER, in line 3 of the file"
    )


def test_names_of_the_statement_are_passed_on() -> None:
    sql = "SELECT nothing, id FROM notes"
    said = describe(raised_by(in_duckdb(sql)), sql)
    assert (
        said
        == 'Binder Error: Referenced column "nothing" not found in FROM clause! Candidate bindings: "note", at nothing'
    )


def test_what_the_operating_system_says_is_passed_on() -> None:
    assert describe(OSError(errno.ENOSPC, "No space left on device", "/w/raw/t/data/name=X/a.parquet")) == (
        "OSError: No space left on device: /w/raw/t/data/name=…/a.parquet"
    )
    assert describe(sqlite3.OperationalError("database is locked")).startswith("SQLite: database is locked: another")


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded", "Read-only file system"])
def test_what_the_system_says_to_duckdb_is_passed_on(words: str) -> None:
    full = f'TransactionContext Error: Failed to commit: Could not write file "/w/O\'Brien.duckdb": {words}'
    meaning = "the transaction could not be committed, or conflicts with another"
    assert describe_duckdb(full) == f"TransactionContext Error: {meaning}: {words}"
    assert describe_duckdb(f'IO Error: Could not write file "/w/O\'Brien": {words}') == (
        f"IO Error: a file cannot be read or written: {words}"
    )


def dbts_text(name: str, message: str) -> str:
    """Return what dbt says of an error of Trino in a model."""
    from dbt_common.exceptions import DbtDatabaseError
    from trino.exceptions import TrinoUserError

    error = TrinoUserError({"errorName": name, "errorType": "USER_ERROR", "message": message}, "20260101_1")
    node = SimpleNamespace(
        resource_type="model", name="m", original_file_path="models/m.sql", build_path="/w/run/models/m.sql"
    )
    return str(DbtDatabaseError(str(error), node=node))


@pytest.mark.parametrize(
    ("name", "message", "of_the_statement", "of_the_data"),
    [
        ("COLUMN_NOT_FOUND", "line 2:8: Column 'x' cannot be resolved", True, False),
        ("NOT_SUPPORTED", "Type not supported for Iceberg: smallint", True, False),
        ("INVALID_CAST_ARGUMENT", f"Cannot cast '{CANARY}' to INT", False, True),
        ("DIVISION_BY_ZERO", "/ by zero", False, True),
        ("EXCEEDED_TIME_LIMIT", "Query exceeded the maximum execution time limit of 1.00ms", False, False),
        ("TABLE_NOT_FOUND", "line 9:5: Table 'lake.s.m__dbt_tmp' does not exist", False, False),
    ],
)
def test_what_dbt_says_of_trino_shows_whether_a_retry_helps(
    name: str, message: str, of_the_statement: bool, of_the_data: bool
) -> None:
    text = dbts_text(name, message)
    assert text.endswith("compiled code at /w/run/models/m.sql")
    assert (is_of_the_statement(text), is_of_the_data(text)) == (of_the_statement, of_the_data)
    described = describe_trino(text, "select x from lake.raw.notes") or ""
    assert described.startswith(f"Trino: {name}")
    assert not has_canary(described)


def test_dbts_text_of_trino_is_understood() -> None:
    text = dbts_text("TABLE_NOT_FOUND", "line 1:15: Table 'lake.raw.notes' does not exist")
    assert describe_trino(text, "select * from lake.raw.notes") == (
        "Trino: TABLE_NOT_FOUND: line 1:15: Table 'lake.raw.notes' does not exist (query 20260101_1)"
    )
    assert describe_trino(text.replace("TABLE_NOT_FOUND", "INVALID_CAST_ARGUMENT")) == (
        "Trino: INVALID_CAST_ARGUMENT (query 20260101_1)"
    )


def test_why_a_server_lets_nobody_in_is_passed_on(tmp_path: Path) -> None:
    """A connection that fails has no SQLSTATE, and has read no data."""
    import psycopg

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(
                host="127.0.0.1", port=taken.getsockname()[1], user="user", password=CANARY, connect_timeout=2
            )
        url = sa.URL.create("postgresql+psycopg2", "user", CANARY, "127.0.0.1", taken.getsockname()[1], "db")
        with pytest.raises(sa.exc.OperationalError) as wrapped:
            sa.create_engine(url).connect()
    for error in (caught.value, wrapped.value):
        assert "refused" in describe(error)
        assert not has_canary(describe(error))


@pytest.mark.parametrize(
    "parse", [json.loads, orjson.loads, requests.models.complexjson.loads], ids=lambda f: f.__module__
)
def test_what_is_not_json_is_named_by_its_place(parse: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="line 3 column 1") as raised:
        parse('{"note": "' + CANARY + '"}\n\n{')
    said = describe(raised.value)
    assert said.endswith("not JSON from line 3, column 1 of what was read")
    assert not has_canary(said)
