"""What a run whose conf names a replay does: its table reads the quarantine, other tables nothing."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException
from pandera.pandas import Field

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.ingestion import quarantine
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.quality import RangeCheck
from airflow_provider_phlo.schemas import PhloSchema
from tests.expect import expect

CONF = {"partition_date": "2024-01-15"}
REPLAY = {**CONF, "phlo_replay": {"table": "raw.readings"}}


class Narrow(PhloSchema):
    id: str = Field(unique=True)
    value: float = Field(le=100)


class Wide(Narrow):
    value: float = Field(le=1000)


def declare(schema, rows, table="readings", **declared):
    def readings():
        assert rows is not None, "a replay reads nothing from the source"
        return rows

    return phlo_ingestion(
        table_name=table, unique_key="id", validation_schema=schema, group="demo", strict_validation=False, **declared
    )(readings)


@pytest.fixture
def bad(run_ingestion):
    """Ingest a good and two bad records."""
    rows = [{"id": "a", "value": 1}, {"id": "b", "value": 200}, {"id": "c", "value": 5000}]
    return run_ingestion(declare(Narrow, rows), conf=CONF)


def test_xcoms_and_event_have_the_counts(bad):
    for name in ("ingest", "merge", "publish"):
        counts = ("read", "added", "dropped", "quarantined")
        assert [bad[name][each] for each in counts] == [3, 0, 0, 2]
    expect(bad["publish"], inserted=1, rows=1)


@pytest.mark.usefixtures("bad")
def test_a_replay_reads_the_quarantine(run_ingestion, catalog):
    audit = [RangeCheck(column="value", max_value=500)]
    results = run_ingestion(declare(Wide, None, audit=audit), conf=REPLAY, run_id="again")
    expect(results["publish"], read=2, inserted=1, quarantined=1)
    assert sorted(catalog.load_table("raw.readings").scan().to_arrow()["id"].to_pylist()) == ["a", "b"]
    [left] = quarantine.find(catalog, "raw.readings", quarantine.Selection())
    assert left["reason"] == "value: less_than_or_equal_to(1000)"
    assert results["publish"]["replay"] is True


@pytest.mark.usefixtures("bad")
def test_a_failed_audit_stops_a_replay(run_ingestion, catalog):
    with pytest.raises(AirflowFailException):
        run_ingestion(
            declare(Wide, None, audit=[RangeCheck(column="value", max_value=150)]), conf=REPLAY, run_id="again"
        )
    assert catalog.load_table("raw.readings").scan().to_arrow()["id"].to_pylist() == ["a"]
    assert len(quarantine.find(catalog, "raw.readings", quarantine.Selection())) == 2


@pytest.mark.long
@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize("wanted", [{"table": "raw.other"}, {"table": "raw.readings", "group": "elsewhere"}])
def test_other_tasks_read_and_change_nothing(run_ingestion, catalog, wanted):
    before = catalog.load_table("raw.readings").metadata_location
    results = run_ingestion(
        declare(Wide, None, merge_strategy="replace"), conf={**CONF, "phlo_replay": wanted}, run_id="x"
    )
    expect(results["publish"], folder=None, read=0)
    assert catalog.load_table("raw.readings").metadata_location == before


@pytest.mark.long
@pytest.mark.usefixtures("bad")
def test_records_can_be_chosen(run_ingestion, catalog):
    first = quarantine.find(catalog, "raw.readings", quarantine.Selection())[0]["quarantine_id"]
    for chosen, replayed in (({"run_id": "nobody"}, 0), ({"reason": "id:"}, 0), ({"ids": [first]}, 1)):
        conf = {**REPLAY, "phlo_replay": {"table": "raw.readings", **chosen}}
        assert run_ingestion(declare(Wide, None), conf=conf, run_id=str(chosen))["publish"]["read"] == replayed
    other_day = {**REPLAY, "partition_date": "2024-01-16"}
    assert run_ingestion(declare(Wide, None), conf=other_day, run_id="other day")["publish"]["read"] == 0


def test_a_replay_without_quarantine_reads_nothing(run_ingestion):
    assert run_ingestion(declare(Wide, None), conf=REPLAY, run_id="again")["publish"]["read"] == 0


@pytest.mark.parametrize("wrong", ["raw.readings", {}, {"table": "raw.readings", "where": "1=1"}])
def test_what_a_conf_may_say(run_ingestion, wrong):
    with pytest.raises(AirflowFailException, match="phlo_replay"):
        run_ingestion(declare(Wide, None), conf={**CONF, "phlo_replay": wrong})


@pytest.mark.usefixtures("bad")
def test_operators_alone_replay_too(make_context, catalog):
    ingest = IngestOperator(
        task_id="ingest", source=list, table="readings", unique_key="id", validation_schema=Wide
    )  # strict: a replay is not
    staged = ingest.execute(make_context(ingest, conf=REPLAY, run_id="again"))
    merge = MergeOperator(task_id="merge", staged=staged, table="readings", unique_key="id", validation_schema=Wide)
    assert merge.execute(make_context(merge, conf=REPLAY, run_id="again"))["inserted"] == 1
    assert len(quarantine.find(catalog, "raw.readings", quarantine.Selection())) == 1
