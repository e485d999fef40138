"""What tests of the watcher share: a table that runs publish into, and rounds at any time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pandera.pandas import Field
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, TablePolicy
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.watching.reading import FactsCache
from airflow_provider_phlo.watching.round import RoundResult, watch
from tests.lake import publish_run


class Reading(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0)


TODAY = dt.datetime.now(dt.UTC).date()
YESTERDAY = str(TODAY - dt.timedelta(days=1))
POLICY = TablePolicy(FreshnessPolicy(24, 48), "site", "team-a", ("glucose",))


@pytest.fixture
def publish(home: Path, catalog: Catalog) -> Callable[..., None]:
    """Publish what one run reads: the values of keys; a negative one is set aside."""

    def run(
        token: str,
        values: dict[int, float] | None = None,
        *,
        day: str = YESTERDAY,
        policy: TablePolicy | None = POLICY,
        table: str = "raw.readings",
    ) -> None:
        definition = TableDefinition(table, MergePlan(key=("k",)), declared=model_columns(Reading))
        records = [{"k": k, "v": v} for k, v in (values or {}).items()]
        publish_run(home, catalog, definition, records, token, day=day, policy=policy)

    return run


@pytest.fixture
def look(home: Path, catalog: Catalog) -> Callable[..., RoundResult]:
    """Run a round, a number of hours from now."""
    known = FactsCache()

    def run(hours: float = 0, **arguments: Any) -> RoundResult:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        return watch(catalog, home, now, **{"known": known, **arguments})

    return run


@pytest.fixture
def freshness(look: Callable[..., RoundResult]) -> Callable[..., list[tuple[str, Any]]]:
    """Return what is said of the freshness of tables, a number of hours from now."""

    def said(hours: float = 0, **arguments: Any) -> list[tuple[str, Any]]:
        return states(look(hours, **arguments).verdicts)

    return said


def states(verdicts: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return the table and the state of each verdict on freshness."""
    return [(each.table, each.facts.get("state")) for each in verdicts if each.rule == "freshness"]
