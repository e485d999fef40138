"""
A value that breaks something on each path of the data reaches no log, error, XCom, event, command or file but the data.

The operators run as a worker runs them, on the embedded catalog; what they print, log, raise and push is kept, and then
every file below ``PHLO_HOME`` is searched.
"""

from __future__ import annotations

import json
import logging
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pandas as pd
import pyarrow as pa
import pytest
from pandera.pandas import Field, check

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.cli.lake.query import query
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.quality import CustomSQLCheck, QualityCheck, RangeCheck
from airflow_provider_phlo.schemas import PhloSchema
from tests.canary import CANARY, files_with_canary, has_canary, told

CONF = {"partition_date": "2024-01-15"}
REPLAY = {**CONF, "phlo_replay": {"table": "raw.visits"}}
GOOD = {"id": "a", "note": "1", "at": "2024-01-15T00:00:00Z"}
BAD = {"id": "b", "note": CANARY, "at": CANARY}


class Loose(PhloSchema):
    id: str


class Numbers(PhloSchema):
    id: str
    note: int
    at: str


class Texts(PhloSchema):
    id: str
    note: str
    at: str


class Raises(Texts):
    @check("note")
    def is_a_number(cls, notes: pd.Series) -> Any:
        return notes.map(lambda note: int(note) > 0)


class Chosen(Texts):
    note: str = Field(isin=["1"], str_length={"max_value": 3})


class OwnCheck(QualityCheck):
    def execute(self, df: Any, context: Any) -> Any:
        return df["note"].astype(int)


def yields(*rows: Any) -> Callable[[], Any]:
    return lambda: list(rows)


def breaks() -> Iterator[Any]:
    yield GOOD
    yield {**GOOD, "id": int(CANARY)}


def from_dlt(**hints: Any) -> Callable[[], Any]:
    return lambda: dlt.resource([GOOD, BAD], name="visits", **hints)


def from_broken_dlt() -> Any:
    return dlt.resource(breaks, name="visits")


def cast_notes(rows: pa.Table) -> pa.Table:
    return rows.set_column(1, "note", rows["note"].cast(pa.int64()))


def look_up_notes(rows: pa.Table) -> pa.Table:
    return rows.append_column("x", pa.array([{"1": 1}[note] for note in rows["note"].to_pylist()]))


# path: the source, and the arguments of the ingestion
PATHS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "source": (breaks, {}),
    "dlt": (from_broken_dlt, {}),
    "dlt mapped": (lambda: from_dlt()().add_map(lambda row: {**row, "note": int(row["note"])}), {}),
    "dlt cursor": (lambda: from_dlt()().apply_hints(incremental=dlt.sources.incremental("missing")), {}),
    "dlt contract": (from_dlt(columns={"note": {"data_type": "bigint"}}), {}),
    "conversion": (yields(GOOD, BAD), {"validation_schema": Numbers}),
    "frame": (lambda: pd.DataFrame([GOOD, BAD]), {"validation_schema": Numbers}),
    "arrow": (lambda: pa.Table.from_pylist([GOOD, BAD]), {"validation_schema": Numbers}),
    "json lines": (yields(json.dumps(GOOD), f'{{"id": {CANARY}'), {"validation_schema": Numbers}),
    "no record": (yields(GOOD, [CANARY], CANARY), {"validation_schema": Numbers}),
    "name": (yields(GOOD, {**GOOD, CANARY: 1}), {"validation_schema": Numbers}),
    "rule": (yields(GOOD, BAD), {"validation_schema": Chosen}),
    "rule raises": (yields(GOOD, BAD), {"validation_schema": Raises}),
    "transform": (yields(GOOD, BAD), {"transforms": [cast_notes]}),
    "transform key": (yields(GOOD, BAD), {"transforms": [look_up_notes]}),
    "no key": (yields({"note": CANARY}), {}),
    "check": (yields(GOOD, BAD), {"audit": [CustomSQLCheck("SELECT * FROM visits WHERE CAST(note AS INT) > 5")]}),
    "check value": (yields(GOOD, BAD), {"audit": [CustomSQLCheck("SELECT max(note) FROM visits", expected_result=1)]}),
    "check type": (yields(GOOD, BAD), {"audit": [RangeCheck("note", min_value=1)]}),
    "own check": (yields(GOOD, BAD), {"audit": [OwnCheck()]}),
    "json check": (yields(GOOD, BAD), {"audit": [CustomSQLCheck("SELECT * FROM visits WHERE note::json IS NULL")]}),
}


@pytest.fixture
def records() -> Iterator[list[str]]:
    """Keep what is logged, with the errors that are logged with it."""
    found: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(
                record.getMessage() + (told(record.exc_info[1]) if record.exc_info and record.exc_info[1] else "")
            )

    keeper = Keeper(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("", "airflow", "airflow.task", "dlt", "pyiceberg")]
    for logger in loggers:
        logger.addHandler(keeper)
    yield found
    for logger in loggers:
        logger.removeHandler(keeper)


def declare(source: Callable[[], Any], **arguments: Any) -> Any:
    def visits() -> Any:
        return source()

    arguments.setdefault("validation_schema", Loose)
    return phlo_ingestion(table_name="visits", unique_key="id", group="demo", **arguments)(visits)


@pytest.mark.long
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_case_34_no_value_leaves_an_ingestion(
    path: str, strict: bool, home: Path, run_ingestion: Any, records: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    source, arguments = PATHS[path]
    said = []
    for run_id in ("one", "two"):  # the second meets the table of the first
        try:
            said.append(json.dumps(run_ingestion(
                declare(source, strict_validation=strict, **arguments), conf=CONF, run_id=run_id
            ), default=str))  # fmt: skip
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            said.append(told(error).replace(CANARY_LINE, ""))
    output = "".join(capfd.readouterr())
    for text in (*said, *records, output):
        assert not has_canary(text), text[-3000:]
    # a source's name of a column is the table's to keep, as a comment, where the column's own does not show it
    named = path == "name"
    assert [file for file in files_with_canary(home) if not (named and file.endswith(".metadata.json"))] == []


# the line of this file that names the canary stands in tracebacks
CANARY_LINE = 'yield {**GOOD, "id": int(CANARY)}'


def test_case_34_no_value_leaves_a_merge(
    home: Path, run_ingestion: Any, records: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The table has numbers where the batch has a text."""
    run_ingestion(declare(yields({**GOOD, "note": 1})), conf=CONF, run_id="one")
    for strict in (True, False):
        try:
            run_ingestion(declare(yields(BAD), strict_validation=strict), conf=CONF, run_id=f"two {strict}")
        except Exception as error:  # noqa: BLE001
            records.append(told(error))
    for text in (*records, *capfd.readouterr()):
        assert not has_canary(text), text[-3000:]
    assert files_with_canary(home) == []


def test_case_34_no_value_leaves_a_replay(
    home: Path, run_ingestion: Any, records: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run_ingestion(
        declare(yields(GOOD, BAD), strict_validation=False, validation_schema=Numbers), conf=CONF, run_id="one"
    )
    for schema, arguments in ((Numbers, {}), (Texts, {"transforms": [cast_notes]}), (Raises, {})):
        try:
            replayed = declare(yields(), strict_validation=False, validation_schema=schema, **arguments)
            records.append(str(run_ingestion(replayed, conf=REPLAY, run_id=schema.__name__)))
        except Exception as error:  # noqa: BLE001
            records.append(told(error))
    for text in (*records, *capfd.readouterr()):
        assert not has_canary(text), text[-3000:]
    assert files_with_canary(home) == []


@pytest.fixture
def notes(catalog: Any) -> None:
    rows = pa.table({"id": [1], "note": [CANARY]})
    ensure_namespace(catalog, "raw")
    catalog.create_table("raw.notes", rows.schema).append(rows)


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CAST(note AS INT) FROM raw.notes",
        "SELECT strptime(note, '%Y') FROM raw.notes",
        "SELECT note::json FROM raw.notes",
        "SELECT error(note) FROM raw.notes",
        "SELECT nothing FROM (PIVOT raw.notes ON note USING sum(id))",
        "SELECT date_trunc(note, date '2024-01-01') FROM raw.notes",
    ],
)
def test_case_34_no_value_leaves_a_failed_query(sql: str, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        query(Namespace(sql=sql, output="table", branch="main"))
    assert left.value.code in (1, 2)
    output = "".join(capfd.readouterr())
    assert "phlo query: " in output
    assert not has_canary(output), output
    assert files_with_canary(home) == []


@pytest.mark.long
@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    "rule",
    [
        "ALTER TABLE marts.notes ADD CHECK (length(note) < 2)",
        "ALTER TABLE marts.notes ADD CHECK (note::int > 0)",
        "CREATE UNIQUE INDEX ON marts.notes ((note::int))",
        "CREATE FUNCTION marts.f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no %', NEW.note; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON marts.notes FOR EACH ROW EXECUTE FUNCTION marts.f()",
    ],
    ids=["check", "cast", "index", "trigger"],
)
def test_case_34_no_value_leaves_a_publication(
    rule: str, home: Path, make_context: Any, records: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    import psycopg

    from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres

    try:
        with psycopg.connect(ensure_postgres(home).uri, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA marts; CREATE TABLE marts.notes (id bigint, note text);" + rule)
        publish = PublishOperator(task_id="publish", tables={"notes": "raw.notes"})
        with pytest.raises(Exception) as raised:  # noqa: PT011
            publish.execute(make_context(publish, conf=CONF))
        for text in (told(raised.value), *records, *capfd.readouterr()):
            assert not has_canary(text), text[-3000:]
        assert not has_canary((home / "postgres" / "log").read_text())
    finally:
        stop_postgres(home)
