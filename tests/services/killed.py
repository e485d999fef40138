"""Runs that end with SIGKILL at a point of their publication on Nessie."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from airflow_provider_phlo.hooks.dlt import DltHook
from airflow_provider_phlo.iceberg.branches import publication
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.merge import MergePlan, copy_on_write
from airflow_provider_phlo.ingestion import LandedBatch, LandedTable, publish_together
from tests.services.stores import Store

# the module or class, its function, and which call of it is the last thing that the process does
POINTS = {
    "started": (nessie, "create", 1),
    "merged": (copy_on_write, "commit_files", 1),
    "sealed": (publication.CatalogBranch, "seal", 1),
    "published": (nessie, "merge", 1),
    "collected": (nessie, "merge", 2),  # both branches are in the joint one, which is not published
}


def run_killed_at(store: Store, point: str | None, pair: bool) -> None:
    """Run what the tasks of a run do, for one table or two that are published together."""
    store.apply()
    if point is not None:
        owner, name, calls = POINTS[point]
        setattr(owner, name, _dying_after(calls, getattr(owner, name)))
    tables = []
    for table in ("t", "u") if pair else ("t",):
        definition = store.definition(table, plan=MergePlan("append", deduplication=False))
        batch = store.stage(f"{store.namespace}{table}", [{"k": 1, "v": 1.0}], definition)
        tables.append(
            LandedTable(LandedBatch.from_json(store.land(batch, definition)), definition, lambda branch: None)
        )
    if pair:
        publish_together(store.catalog, DltHook().staging_root, tables)
    else:
        store.publish(tables[0].landed.to_json(), tables[0].definition)


def _dying_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    left = [calls]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped
