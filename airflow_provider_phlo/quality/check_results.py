"""
The table ``phlo.check_results``: one row per check that a task has run, whatever the outcome.

Many tasks write to it at once, and each appends one small file; a
:class:`~..operators.maintenance.MaintenanceOperator` compacts them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.quality.results import QualityCheckResult, plain
from airflow_provider_phlo.terms import MAIN_BRANCH, MergeStrategy

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

TABLE = "phlo.check_results"
#: The task of rows that the watcher writes: verdicts that have changed. It has handed them to alerts itself.
WATCHER = "phlo_watch"


@dataclass(frozen=True)
class Occasion:
    """
    Which task ran the checks, and on what.

    :param try_number: the attempt of the task; another attempt is another occasion.
    :param branch: the branch that was asked for; None is main.
    :param partition: the day or value whose rows were checked; None for all.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    branch: str | None = None
    partition: str | None = None

    def token(self, results: Sequence[QualityCheckResult]) -> str:
        """Return the token of this occasion and these results: the same whenever they are recorded again."""
        checked = [(result.table, result.snapshot_id, result.check_name) for result in results]
        return blake2b(repr((astuple(self), checked)).encode(), digest_size=8).hexdigest()


def record(catalog: Catalog, occasion: Occasion, results: Sequence[QualityCheckResult]) -> None:
    """
    Append ``results`` to the table unless they are there already; create the table if it is missing.

    :raises CommitConflictError: other writers committed first in every round.
    """
    from airflow_provider_phlo.iceberg.catalogs.retries import COMMIT_ROUNDS, retry_conflicts
    from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
    from airflow_provider_phlo.iceberg.merge import MergePlan, merge

    if not results:
        return
    token, rows = occasion.token(results), rows_of(occasion, results)
    ensure_table(catalog)

    def attempt() -> None:
        table = catalog.load_table(TABLE)
        if not any(snapshot.summary and snapshot.summary["phlo.token"] == token for snapshot in table.snapshots()):
            plan = MergePlan(MergeStrategy.APPEND, deduplication=False)
            merge(catalog, TABLE, rows, plan, token=token, branch=MAIN_BRANCH)

    with take_turn(catalog, TABLE):
        retry_conflicts(attempt, TABLE, COMMIT_ROUNDS)


def ensure_table(catalog: Catalog) -> None:
    """Create the table, or add the columns that it lacks."""
    from airflow_provider_phlo.iceberg import tables
    from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg

    tables.ensure_table(catalog, TABLE, arrow_to_iceberg(_columns()), partition_by="checked_at")
    tables.evolve(catalog, TABLE, _columns())


@cache
def _columns() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        {
            "checked_at": pa.timestamp("us", "UTC"),
            "dag_id": text,
            "run_id": text,
            "task_id": text,
            "map_index": pa.int32(),
            "try_number": pa.int32(),
            "branch": text,
            "partition": text,
            "table_name": text,
            "snapshot_id": number,
            "check_name": text,
            "check_type": text,
            "columns": pa.list_(text),
            "severity": text,
            "passed": pa.bool_(),
            "failed": number,
            "row_count": number,
            "expected": text,
            "actual": text,
            "message": text,
            "metrics": text,
            "samples": text,
            "execution_time_seconds": pa.float64(),
        }
    )


def rows_of(occasion: Occasion, results: Sequence[QualityCheckResult]) -> pa.Table:
    """Return results as rows of the table."""
    import pyarrow as pa

    shared: dict[str, Any] = {
        "checked_at": datetime.now(UTC),
        **asdict(occasion),
        "branch": occasion.branch or MAIN_BRANCH,
    }
    rows = [
        {
            **{name: getattr(result, name, None) for name in _columns().names if name not in shared},
            **shared,
            "table_name": result.table,
            "metrics": json.dumps(plain(result.metrics)),
            "samples": json.dumps(plain(result.samples)),
        }
        for result in results
    ]
    return pa.Table.from_pylist(rows, _columns())
