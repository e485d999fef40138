"""
What a round writes into ``phlo.check_results``: verdicts that have changed, and once an hour that it has looked.

With every verdict of every round, 200 tables would write 170,000 rows in a day. What was wrong after the last record
stands in a property of the table, set by the commit that adds the rows: of two watchers, or after a crash, nobody
writes the same change again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.alerts.rules.verdicts import Verdict
from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.quality.check_results import TABLE, WATCHER, Occasion, ensure_table, rows_of
from airflow_provider_phlo.quality.results import QualityCheckResult

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

WATCHED_PROPERTY = "phlo.watched"
VERSION = 1
_ROUND = "watch"
_HEARTBEAT = timedelta(hours=1)


@dataclass(frozen=True)
class Looked:
    """
    What a round has looked at.

    :param snapshots: by table, the snapshot that was current; None if the table has none, or could not be read.
    :param run: the DAG and the run that the round is of; empty in a terminal.
    """

    snapshots: Mapping[str, int | None]
    now: datetime
    run: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class _Recorded:
    """
    What was recorded last.

    :param at: when a round said that it has looked.
    :param wrong: what is not as it should be: by table, by what about it, how bad.
    """

    at: datetime | None
    wrong: Mapping[str, Mapping[str, str]]

    def to_json(self) -> str:
        content = {VERSION_FIELD: VERSION, "at": self.at.isoformat() if self.at else None, "wrong": self.wrong}
        return json.dumps(content, sort_keys=True)

    @classmethod
    def of(cls, table: Table) -> _Recorded:
        text = table.properties.get(WATCHED_PROPERTY)
        if not text:
            return cls(None, {})
        content = json.loads(text)
        require_known_version(content, VERSION, f"The property {WATCHED_PROPERTY} of {TABLE}")
        return cls(datetime.fromisoformat(content["at"]) if content["at"] else None, content["wrong"])


def last_round(catalog: Catalog) -> datetime | None:
    """Return when a round was last recorded, to the hour; None if none was."""
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    table = find_table(catalog, TABLE)
    return _Recorded.of(table).at if table is not None else None


def record_changes(catalog: Catalog, verdicts: Sequence[Verdict], looked: Looked) -> int:
    """
    Append what has changed since the last record; in one commit, or none.

    :returns: how many rows were written.
    :raises CommitConflictError: others wrote at the same time, every time.
    """
    from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
    from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    table = find_table(catalog, TABLE)
    if table is not None and not _changes(_Recorded.of(table), verdicts, looked)[0]:
        return 0
    ensure_table(catalog)

    def attempt() -> int:
        table = catalog.load_table(TABLE)
        results, after = _changes(_Recorded.of(table), verdicts, looked)
        if not results:
            return 0
        with table.transaction() as change:
            change.append(rows_of(Occasion(*looked.run, WATCHER, -1, 1), results))
            change.set_properties({WATCHED_PROPERTY: after.to_json()})
        return len(results)

    with take_turn(catalog, TABLE):
        return retry_commit(attempt, TABLE)


def _changes(
    recorded: _Recorded, verdicts: Sequence[Verdict], looked: Looked
) -> tuple[list[QualityCheckResult], _Recorded]:
    """Return what is to be recorded, and what is recorded then; of tables that no verdict is about it is forgotten."""
    about_now = {*looked.snapshots, *(verdict.table or "" for verdict in verdicts), ""}
    wrong = {table: dict(found) for table, found in recorded.wrong.items() if table in about_now}
    results = []
    for verdict in verdicts:
        of_table = wrong.setdefault(verdict.table or "", {})
        about, state = f"{verdict.rule} ({verdict.subject})", "" if verdict.passed else _state(verdict)
        if of_table.get(about, "") != state:
            results.append(_result(verdict, looked.snapshots))
            of_table[about] = state
    still = {table: {name: each for name, each in found.items() if each} for table, found in wrong.items()}
    seen = recorded.at
    # a record of the future is one of a clock that was wrong
    if seen is None or not timedelta() <= looked.now - seen < _HEARTBEAT:
        results.append(_heartbeat(verdicts))
        seen = looked.now
    return results, _Recorded(seen, {table: found for table, found in still.items() if found})


def _state(verdict: Verdict) -> str:
    return "unknown" if verdict.passed is None else str(verdict.severity)


def _result(verdict: Verdict, snapshots: Mapping[str, int | None]) -> QualityCheckResult:
    unknown = verdict.passed is None
    return QualityCheckResult(
        passed=bool(verdict.passed),
        message=verdict.message,
        check_name=f"{verdict.rule} ({verdict.subject})",
        table=verdict.table,
        metrics={**verdict.facts, **({"unknown": True} if unknown else {})},
        severity="warn" if unknown else str(verdict.severity),  # type: ignore[arg-type]
        check_type=f"{_ROUND}.{verdict.rule}",
        snapshot_id=snapshots.get(verdict.table or ""),
    )


def _heartbeat(verdicts: Sequence[Verdict]) -> QualityCheckResult:
    counts: dict[str, Any] = {
        "verdicts": len(verdicts),
        "wrong": sum(verdict.passed is False for verdict in verdicts),
        "unknown": sum(verdict.passed is None for verdict in verdicts),
    }
    message = f"{counts['wrong']} of {counts['verdicts']} verdicts are that something is wrong"
    return QualityCheckResult(True, message=message, check_name=_ROUND, metrics=counts, check_type=f"{_ROUND}.round")
