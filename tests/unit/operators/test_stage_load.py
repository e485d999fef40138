"""StageLoadOperator: batches of a stage into the warehouse that is set."""

from __future__ import annotations

import datetime
import json
from types import SimpleNamespace

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.hooks.warehouse import open_stage, open_warehouse
from airflow_provider_phlo.operators.stage_load import StageLoadOperator
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from tests.lake import open_lake
from tests.unit.warehouse.models import LINES, ORDERS, at, lines, order, orders

pytestmark = pytest.mark.xdist_group("publish operator")
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    yield tmp_path
    stop_postgres(tmp_path)


@pytest.fixture
def context(home):
    run = SimpleNamespace(
        dag_id="d",
        run_id="r",
        clear_number=0,
        start_date=NOW,
        conf={"partition_date": "2026-11-28"},
        partition_key=None,
    )
    return {"ti": SimpleNamespace(task_id="load", map_index=-1), "dag_run": run, "run_id": "r"}


def staged(organization="octo-org", date="2026-11-28", token="t1", **entities):
    with open_stage("shop").writer(organization, date, token) as writer:
        for entity, table in entities.items():
            writer.write(entity, table)
    return writer.batch.name


def load(context, **arguments):
    event = SimpleNamespace(extra={}, partition_keys=set())
    operator = StageLoadOperator(task_id="load", prefix="shop", **{"tables": [ORDERS, LINES], **arguments})
    events = {outlet: event for outlet in operator.outlets[:1]}
    context = {**context, "task": SimpleNamespace(outlets=operator.outlets[:1]), "outlet_events": events}
    result = operator.execute(context)
    assert json.loads(json.dumps(result)) == result
    return result, event.extra


def test_loads_into_iceberg_and_emits_events(context, home):
    name = staged(orders=orders(order("x", 1), order("y", 1)), lines=lines((1, "x", 2)))
    result, event = load(context, batches=name)
    assert (result["warehouse"], result["batches"]) == ("iceberg", [name])
    assert [(table["table"], table["inserted"]) for table in result["tables"]] == [
        ("raw.orders", 2),
        ("raw.order_lines", 1),
    ]
    assert event == {**result["tables"][0], "partition_date": "2026-11-28"}
    assert len(open_lake(home).load_table("raw.orders").scan().to_arrow()) == 2
    assert len(open_warehouse().rows("raw.orders", ["order_id"], where={"updated_at": at(1)})) == 2
    again, _ = load(context, batches=[name])
    assert again == result


def test_outlets_are_known_when_the_file_is_parsed_and_are_icebergs_only():
    operator = StageLoadOperator(task_id="load", tables=[ORDERS, LINES])
    assert [asset.name for asset in operator.outlets] == ["raw.orders", "raw.order_lines"]
    assert StageLoadOperator(task_id="load", tables=[ORDERS], warehouse="postgres").outlets == []
    with pytest.raises(ConfigurationError, match="name its tables"):
        StageLoadOperator(task_id="load", tables=[])


def test_loads_what_is_there_again_by_organization_and_from_a_day_on(context):
    names = [
        staged("a", "2026-11-27", orders=orders(order("x", 1))),
        staged("a", "2026-11-28", orders=orders(order("x", 2))),
        staged("b", "2026-11-28", orders=orders(order("y", 1))),
    ]
    assert load(context, organizations=["A"], since="2026-11-28")[0]["batches"] == names[1:2]
    assert load(context, organizations=["b", "a"], since="2026-11-27")[0]["batches"] == names
    assert load(context, since="")[0]["batches"] == names


def test_a_day_that_is_loaded_again_does_not_bring_back_what_a_later_batch_changed(context, home):
    staged("a", "2026-11-27", orders=orders(order("x", 1, customer="old name")))
    staged("a", "2026-11-28", token="t2", orders=orders(order("x", 1, customer="new name")))
    load(context, organizations=["a"])
    load({**context, "run_id": "again"}, organizations=["a"], since="2026-11-27")
    table = open_lake(home).load_table("raw.orders").scan(selected_fields=("customer",)).to_arrow()
    assert table["customer"].to_pylist() == ["new name"]


@pytest.mark.long
def test_what_a_warehouse_cannot_hold_is_set_aside_if_validation_is_not_strict(context, home):
    name = staged(orders=orders(order("x", 1), order("y", 1, customer="a\0b")))
    with pytest.raises(AirflowFailException, match=r"Column customer .*U\+0000, and 1 row"):
        load(context, batches=[name], warehouse="postgres")
    result, _ = load(context, batches=[name], warehouse="postgres", strict_validation=False)
    assert {part: result["tables"][0][part] for part in ("rows", "inserted", "quarantined")} == {
        "rows": 2, "inserted": 1, "quarantined": 1
    }  # fmt: skip
    with psycopg.connect(ensure_postgres(home).uri) as connection:
        assert connection.execute("SELECT count(*), min(run_id) FROM raw.orders__quarantine").fetchone() == (1, "r")


@pytest.mark.long
def test_loads_into_postgres_and_logs_every_statement(context, home, capsys, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")  # as it is for a database of that encoding
    name = staged(orders=orders(order("x", 1, customer="Zoë")))
    result, _ = load(context, batches=[name], warehouse="postgres")
    assert (result["warehouse"], result["tables"][0]["inserted"]) == ("postgres", 1)
    with psycopg.connect(ensure_postgres(home).uri) as connection:
        assert connection.execute("SELECT order_id, customer FROM raw.orders").fetchall() == [("x", "Zoë")]
    text = capsys.readouterr().out
    assert text.index("\nCOPY ") < text.index("\nMERGE INTO ") < text.index("\nTRUNCATE ") < text.index("\nCOMMIT")


def test_nothing_to_load_is_said(context):
    assert load(context, batches=[])[0]["nothing_to_do"]
    assert load(context)[0]["batches"] == []


def test_an_organization_without_batches_fails_by_name(context):
    staged("a", orders=orders(order("x", 1)))
    with pytest.raises(AirflowFailException, match="Nothing is staged of nobody in"):
        load(context, organizations=["a", "nobody"])


def test_a_batch_that_is_gone_fails_by_name(context):
    with pytest.raises(AirflowFailException, match="No batch org=a/date=2026-11-28/t in the stage"):
        load(context, batches=["org=a/date=2026-11-28/t"])


def test_files_that_are_too_old_are_removed_after_the_load(context):
    name = staged(orders=orders(order("x", 1)))
    load(context, batches=name, retention_days=1)
    assert open_stage("shop").find(name) is not None
    load(context, batches=name, retention_days=0)
    assert open_stage("shop").find(name) is None


def test_what_cannot_be_removed_does_not_fail_a_load_that_is_committed(context, capsys):
    name = staged(orders=orders(order("x", 1)))
    # more days than a date can go back
    assert load(context, batches=name, retention_days=10**9)[0]["tables"][0]["inserted"] == 1
    assert "the rows are loaded, but old files stay in" in capsys.readouterr().out


def test_bad_rows_fail_or_are_set_aside(context):
    name = staged(orders=orders(order("x", 1, -1.0), order("y", 1)))
    with pytest.raises(AirflowFailException, match=r"raw\.orders: 1 row\(s\) break"):
        load(context, batches=name)
    table = load(context, batches=name, strict_validation=False)[0]["tables"][0]
    assert (table["inserted"], table["quarantined"]) == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Snowflake cannot read a folder of this machine"),
        ({"stage_path": "s3://b/stage"}, r"snowflake_stage = '': name the external stage"),
        ({"stage_path": "gs://b/stage", "snowflake_stage": "a b"}, r"snowflake_stage = 'a b': name the external stage"),
        (
            {"stage_path": "gs://b/stage", "snowflake_stage": "RAW.S"},
            r"pip install 'airflow-provider-phlo\[snowflake\]'",
        ),
    ],
)
def test_snowflake_needs_a_bucket_a_stage_over_it_and_its_provider(home, monkeypatch, options, message):
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__PHLO__{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=message):
        open_warehouse("snowflake")


def test_an_unknown_warehouse_is_refused(home):
    with pytest.raises(ConfigurationError, match="warehouse='bigquery': choose one of iceberg, snowflake, postgres"):
        open_warehouse("bigquery")


@pytest.mark.parametrize("named", [None, [], ()])
def test_what_a_task_before_did_not_name_is_not_all_that_is_staged(context, home, named):
    staged(orders=orders(order("x", 1)), lines=lines((1, "x", 2)))
    operator = StageLoadOperator(task_id="load", prefix="shop", batches="{{ nothing }}", tables=[ORDERS, LINES])
    operator.batches = named  # as Airflow renders it
    assert operator.execute(context)["nothing_to_do"]
    assert list(open_lake(home).list_namespaces()) == []
