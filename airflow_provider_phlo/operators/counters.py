"""Counters for StatsD, OpenTelemetry and what reads those, through Airflow's own metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_phlo import settings

#: What of a published batch is counted, as ``phlo.rows.<name>``.
COUNTED = ("read", "inserted", "updated", "deleted", "unchanged", "duplicates", "quarantined")


def count_rows(table: str, facts: Mapping[str, Any]) -> None:
    """
    Count the rows of a published batch; nothing where Airflow's metrics are off.

    :param table: the counters' tag ``table``. StatsD without tags has the sums of all tables.
    :param facts: the counts, by name.
    """
    if not settings.metrics_are_on():
        return
    from airflow.sdk.observability import stats

    for name in COUNTED:
        if facts.get(name):
            stats.incr(f"phlo.rows.{name}", int(facts[name]), tags={"table": table})
    stats.incr("phlo.publications", tags={"table": table})
