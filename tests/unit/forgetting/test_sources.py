"""What comes into a table: staged batches, and records that were set aside."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pytest
from pandera.pandas import Field
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    IcebergType,
    LongType,
    StringType,
    TimestamptzType,
)

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.forgetting.everywhere import Finding, forget, look
from airflow_provider_phlo.forgetting.gathering import Lake, gather, places_of
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.values import is_value
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, quarantine, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.quality.check_results import TABLE as CHECK_RESULTS
from airflow_provider_phlo.quality.check_results import Occasion, record
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.lake import open_lake, publish_run
from tests.unit.forgetting.remains import remains

TABLE = "raw.visits"
THEIRS, MAIL = "patient-4711", "ann@example.org"


class Visit(PhloSchema):
    user_id: str = Field(unique=True)
    mail: str
    age: int = Field(ge=0, le=130)


DEFINITION = TableDefinition(TABLE, MergePlan(key=("user_id",)), model_columns(Visit))


def visit(user: Any, age: Any = 40, mail: str = "other") -> dict[str, Any]:
    # named as sources do: the column is user_id
    return {"userId": user, "mail": mail, "age": age}


@pytest.fixture
def lake(home: Path) -> Lake:
    catalog = open_lake(home)
    publish_run(home, catalog, DEFINITION, [visit("a"), visit(THEIRS, mail=MAIL), visit("bad", 200)], "one")
    publish_run(home, catalog, DEFINITION, [visit("b"), visit(THEIRS, 999, MAIL)], "two")
    return Lake(catalog, home / "staging")


def test_batches_and_records_go_with_the_rows(home: Path, lake: Lake) -> None:
    places = places_of(lake, TABLE, Key({"user_id": THEIRS}))
    found = {str(each.kind): each.found.amounts for each in look(places)}
    assert (found["table"]["rows"], found["quarantine"]["rows"]) == (1, 1)
    assert found["staging"] == {"rows": 2, "batches": 2}
    assert not any(each.found for each in forget(places))
    assert remains(home, THEIRS, MAIL) == []
    left = quarantine.find(lake.catalog, TABLE, quarantine.Selection(), with_records=True)
    assert [json.loads(each["record"])["userId"] for each in left] == ["bad"]
    assert sorted(lake.catalog.load_table(TABLE).scan().to_arrow()["user_id"].to_pylist()) == ["a", "b"]


def merged(home: Path, lake: Lake, *visits: dict[str, Any]) -> landing.LandedBatch:
    """Stage and merge a batch on the branch of a run, which is not published."""
    batch = stage(
        lambda: iter(visits),
        StagingPlan(TABLE, key=("user_id",), declared=DEFINITION.declared),
        root=home / "staging",
        token="three",
        partition_date="2024-01-16",
        run_id="run",
        pipelines_dir=home / "dlt",
    )
    assert batch is not None
    landed = landing.land(lake.catalog, home / "staging", batch, DEFINITION)
    assert landed is not None
    return landed


def test_a_batch_that_is_not_published_is_named_and_brings_nobody_back(home: Path, lake: Lake) -> None:
    landed = merged(home, lake, visit(THEIRS, mail=MAIL), visit("c"))
    places = places_of(lake, TABLE, Key({"user_id": THEIRS}))
    [note] = [note for each in look(places) for note in each.found.notes if "not published" in note]
    assert "2024-01-16/three" in note
    assert not any(each.found for each in forget(places))
    assert remains(home, THEIRS, MAIL) == []
    # the branch is no longer the one that was audited, and what it was merged from is gone
    with pytest.raises(ConfigurationError, match="staged again"):
        publication.publish(lake.catalog, home / "staging", landed, DEFINITION, lambda branch: None)
    assert staged_batches.find(home / "staging", TABLE, "2024-01-16", "three") is None


def test_a_retry_of_a_published_run_brings_nothing_back(home: Path, lake: Lake) -> None:
    forget(places_of(lake, TABLE, Key({"user_id": THEIRS})))
    publish_run(home, lake.catalog, DEFINITION, [visit("a"), visit("bad", 200)], "one")
    found: list[Finding] = look(places_of(lake, TABLE, Key({"user_id": THEIRS})))
    assert not any(each.found for each in found)


def test_a_run_that_merged_before_publishes_after(home: Path, lake: Lake) -> None:
    """Its branch was made on a main that had the row: it merges again, and the row does not come back."""
    landed = merged(home, lake, visit("c"))
    places = places_of(lake, TABLE, Key({"user_id": THEIRS}))
    assert not any(each.found for each in forget(places))
    publication.publish(lake.catalog, home / "staging", landed, DEFINITION, lambda branch: None)
    assert sorted(lake.catalog.load_table(TABLE).scan().to_arrow()["user_id"].to_pylist()) == ["a", "b", "c"]
    assert not any(each.found for each in look(places))


def test_results_of_checks_that_name_the_key(home: Path, lake: Lake) -> None:
    def result(table: str, message: str, **sample: str) -> QualityCheckResult:
        return QualityCheckResult(
            passed=False, check_name="c", table=table, message=message, samples=(sample,) if sample else ()
        )

    results = [
        result(TABLE, f"2 missing (user_id=x; user_id={THEIRS})"),
        result(TABLE, "1 row", user_id=THEIRS),
        result(TABLE, f"user_id={THEIRS}-2"),
        result("raw.others", f"user_id={THEIRS}-3"),
    ]
    record(lake.catalog, Occasion("d", "r", "t", -1, 1), results)
    gathered = gather(lake, TABLE, Key({"user_id": THEIRS}), None, lambda name: pytest.fail(name))
    found = {each.name: each.found.amounts.get("rows") for each in look(gathered.places)}
    assert found[CHECK_RESULTS] == 2
    assert not any(each.found for each in forget(gathered.places))
    left = lake.catalog.load_table(CHECK_RESULTS).scan().to_arrow()["message"].to_pylist()
    assert sorted(left) == [f"user_id={THEIRS}-2", f"user_id={THEIRS}-3"]


NOON = datetime.datetime(2024, 1, 15, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("raw", "text", "kind", "same"),
    [
        (4711, "4711", LongType(), True),
        ("4711", "4711", LongType(), True),
        (4711.0, "4711", LongType(), True),
        (" 4711 ", "4711", LongType(), True),
        ("04711", "4711", StringType(), False),
        (4711, "4711", StringType(), True),
        (4711.0, "4711", StringType(), True),
        (47110, "4711", StringType(), False),
        (None, "None", StringType(), False),
        (decimal.Decimal("1.50"), "1.5", DecimalType(9, 2), True),
        ("NaN", "4711", DoubleType(), False),
        ("2024-01-15T13:00:00+01:00", "2024-01-15T12:00:00Z", TimestamptzType(), True),
        (NOON, "2024-01-15T12:00:00Z", TimestamptzType(), True),
    ],
)
def test_values_of_sources(raw: Any, text: str, kind: IcebergType, same: bool) -> None:
    assert is_value(raw, text, kind) is same
