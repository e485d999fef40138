"""
The quarantine of a table: a table beside it with its bad records, which can be listed, shown, and replayed after a fix.

A replay happens exactly once; killed at any point, it neither loses nor doubles a record:

1. It claims the records: it writes its token beside them. What another replay has claimed and published is marked now;
   a replay that has not published is withdrawn first, so that it no longer can.
2. It stages, merges, audits and publishes the records as any run does; a retry has the same token and finds the same.
   Records that fail again lose their claim and get the new reason.
3. After the publication it marks the records that have its token as replayed. A replay that dies in between has
   published under its token: the next one to claim finds that, and marks them (see 1).
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, In, IsNull
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TransientError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
from airflow_provider_phlo.iceberg.catalogs.retries import retry_conflicts
from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.lookup import table_names
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.trino import staged_merge
from airflow_provider_phlo.iceberg.trino.staged_merge import Claim
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.ingestion.records import Origin, replayed
from airflow_provider_phlo.ingestion.rejects import FORMAT_PROPERTY, QUARANTINE_FORMAT, QUARANTINE_SCHEMA
from airflow_provider_phlo.schemas.columns import TIMESTAMP
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX, MetadataColumn

log = logging.getLogger(__name__)

# a record that comes again is older than any change by a replay, so it undoes none
PLAN = MergePlan(key=("quarantine_id",), order_by="updated_at")
WAITING = IsNull(term="replayed_at")
_ORDER = [("quarantined_at", "ascending"), ("source_position", "ascending")]


def quarantine_table(table: str) -> str:
    """Return the name of the table that holds the rejected rows of ``table``."""
    return f"{table}{QUARANTINE_SUFFIX}"


@dataclass(frozen=True)
class Selection:
    """
    Choose among the records that have not been replayed; all of them by default.

    :param run_id: only those that this run set aside.
    :param reason: only those whose reason contains this text, e.g. a column or a check.
    :param partition_date: only those of this day, ``YYYY-MM-DD``.
    :param ids: only these.
    """

    run_id: str | None = None
    reason: str | None = None
    partition_date: str | None = None
    ids: tuple[str, ...] = ()

    def row_filter(self) -> BooleanExpression:
        """Return the part of the selection that Iceberg can filter by."""
        found: BooleanExpression = WAITING
        if self.run_id:
            found = And(found, EqualTo(term="run_id", value=self.run_id))
        if self.partition_date:
            found = And(found, EqualTo(term="partition_date", value=self.partition_date))
        return And(found, In(term="quarantine_id", literals=self.ids)) if self.ids else found

    def matches(self, rows: pa.Table) -> pa.Table:
        """Return the rows whose reason is selected."""
        return rows.filter(pc.match_substring(rows["reason"], self.reason)) if self.reason else rows


# --- a run sets records aside


def add_rejected(catalog: Catalog, root: Any, batch: staged_batches.StagedBatch) -> None:
    """Publish the rejected rows of ``batch`` at once: they can be looked at, whatever becomes of the run."""
    if not batch.rejected_files:
        return
    rows = staged_batches.StagedRows(root, batch, batch.rejected_files)
    if batch.replay:
        _release(catalog, batch, rows)
        return
    _change(catalog, batch.table, batch.token, lambda table: rows)


def _release(catalog: Catalog, batch: staged_batches.StagedBatch, rejected: Iterable[pa.Table]) -> None:
    """Give up the claim on records that failed again, and store their new reason."""
    names = ["quarantine_id", "reason", "column_name", "check_name"]
    reasons = pa.concat_tables(part.select(names) for part in rejected)
    now, nobody = _now(), pa.scalar(None, pa.string())

    def released(rows: pa.Table) -> pa.Table:
        positions = pc.index_in(rows["quarantine_id"], reasons["quarantine_id"].combine_chunks())
        rows, positions = rows.filter(pc.is_valid(positions)), positions.drop_null()
        new = {name: reasons[name].take(positions) for name in names[1:]}
        return _with(rows, now, "released", **new, replay_token=nobody, replay_run_id=nobody)

    _change(catalog, batch.table, batch.token, lambda table: _Changed(table, _claimed_by(batch.token), released))


# --- a replay claims, reads and marks records


def claim(catalog: Catalog, table: str, selection: Selection, token: str, run_id: str) -> int:
    """
    Claim the selected records for the replay with ``token``.

    :param run_id: the run that replays them.
    :returns: how many records the replay has claimed.
    :raises TransientError: another replay of some of them is under way in Trino.
    """
    identifier = quarantine_table(table)
    if tables.find_table(catalog, identifier) is None:
        return 0
    if _published(catalog, table, token):
        return 0
    tables.evolve(catalog, identifier, QUARANTINE_SCHEMA)
    row_filter = selection.row_filter()
    for other in _claims(catalog.load_table(identifier), row_filter) - {token}:
        _resolve(catalog, table, other)

    now = _now()

    def free(rows: pa.Table) -> pa.Table:
        rows = selection.matches(rows)
        rows = rows.filter(pc.invert(pc.fill_null(pc.equal(rows["replay_token"], token), False)))
        return _with(rows, now, token, replay_token=pa.scalar(token), replay_run_id=pa.scalar(run_id))

    _change(catalog, table, token, lambda loaded: _Changed(loaded, row_filter, free))
    return len(_read(catalog.load_table(identifier), _claimed_by(token), ["quarantine_id"]))


def _claims(table: Table, row_filter: BooleanExpression) -> set[str]:
    """Return the tokens of the replays that have claimed records matching the filter."""
    return set(pc.unique(_read(table, row_filter, ["replay_token"])["replay_token"]).to_pylist()) - {None}


def _resolve(catalog: Catalog, table: str, token: str) -> None:
    """Mark what another replay has published, or make sure that it can no longer publish."""
    staged = staged_merge.find(catalog, table, token)
    if staged is not None:
        if staged.claim is not None and staged.claim.query:
            raise TransientError(
                f"{table}: Trino has begun to merge what replay {token} claimed, and it is unknown how that ended: "
                "clear the merge and publish tasks of that run, then replay what is left."
            )
        if staged.claim is None:
            staged.set_claim(catalog, Claim())
        staged.drop(catalog)
    result = branches.withdraw(catalog, table, token) if catalog.table_exists(table) else branches.WITHDRAWN
    if result == branches.WITHDRAWN:
        log.info("%s: replay %s has not published; this one takes over its records", table, token)
    else:
        mark_replayed(catalog, table, token)


def _published(catalog: Catalog, table: str, token: str) -> bool:
    loaded = tables.find_table(catalog, table)
    return loaded is not None and find_published_result(loaded, token) is not None


def claimed_records(catalog: Catalog, table: str, token: str) -> Iterator[Mapping[str, Any]]:
    """Yield the records that the replay with ``token`` has claimed, in the order in which they arrived."""
    names = ["quarantine_id", "record", "quarantined_at", "source_position"]
    rows = _read(catalog.load_table(quarantine_table(table)), _claimed_by(token), names).sort_by(_ORDER)
    for part in rows.to_batches(max_chunksize=1000):
        for row in part.to_pylist():
            yield replayed(row["record"], Origin(row["quarantine_id"], row["quarantined_at"]))


def hard_delete_column(catalog: Catalog, table: str, token: str) -> str:
    """Return the column that marks deletions in the claimed records, as a dlt resource hinted; empty for none."""
    rows = _read(catalog.load_table(quarantine_table(table)), _claimed_by(token), ["hard_delete"])
    return next((name for name in pc.unique(rows["hard_delete"]).to_pylist() if name), "")


def mark_replayed(catalog: Catalog, table: str, token: str) -> None:
    """Mark the records of the replay with ``token``, which has published, as replayed; calling it twice is fine."""
    now = _now()

    def marked(rows: pa.Table) -> pa.Table:
        return _with(rows, now, "replayed", replayed_at=now)

    _change(catalog, table, token, lambda loaded: _Changed(loaded, _claimed_by(token), marked))


def _claimed_by(token: str) -> BooleanExpression:
    return And(WAITING, EqualTo(term="replay_token", value=token))


# --- list and show


def quarantines(catalog: Catalog) -> list[str]:
    """Return the tables that have a quarantine."""
    return sorted(
        name.removesuffix(QUARANTINE_SUFFIX) for name in table_names(catalog) if name.endswith(QUARANTINE_SUFFIX)
    )


def counts(catalog: Catalog, table: str) -> list[dict[str, Any]]:
    """
    Return how many records of ``table`` each run set aside for each reason, and how many have been replayed.

    :raises ConfigurationError: if it has no quarantine.
    """
    names = ["run_id", "partition_date", "reason", "replayed_at"]
    rows = _read(_load(catalog, table), None, names)
    found = rows.group_by(names[:3]).aggregate([([], "count_all"), ("replayed_at", "count")])
    found = found.rename_columns({"count_all": "records", "replayed_at_count": "replayed"})
    return found.sort_by([(name, "ascending") for name in names[:3]]).to_pylist()


def find(
    catalog: Catalog, table: str, selection: Selection, *, limit: int | None = None, with_records: bool = False
) -> list[dict[str, Any]]:
    """
    Return records that have not been replayed, in the order in which they arrived.

    :param with_records: include the records themselves, whose values may be personal.
    :raises ConfigurationError: if the table has no quarantine.
    """
    names = [name for name in QUARANTINE_SCHEMA.names if name not in (MetadataColumn.ROW_HASH, "updated_at")]
    names = [name for name in names if with_records or name != "record"]
    rows = selection.matches(_read(_load(catalog, table), selection.row_filter(), names)).sort_by(_ORDER)
    return (rows if limit is None else rows.slice(0, limit)).to_pylist()


def _load(catalog: Catalog, table: str) -> Table:
    found = tables.find_table(catalog, quarantine_table(table))
    if found is None:
        raise ConfigurationError(f"{table} has no quarantine: no run has set aside a record of it.")
    return found


# --- reading and changing the table


def _read(table: Table, row_filter: BooleanExpression | None, names: list[str]) -> pa.Table:
    """Return columns of the rows; a column that the table does not have yet is NULL."""
    return pa.concat_tables(_parts(table, row_filter, names)) if table.current_snapshot() else _empty(names)


def _empty(names: list[str]) -> pa.Table:
    return QUARANTINE_SCHEMA.empty_table().select(names)


def _parts(table: Table, row_filter: BooleanExpression | None, names: list[str]) -> Iterator[pa.Table]:
    _require_known_format(table)
    yield _empty(names)
    present = set(tables.column_names(table))
    if row_filter is not None and "replayed_at" not in present:
        raise ConfigurationError(
            f"{'.'.join(table.name())} was written by an older version: run its ingestion once, or replay it."
        )
    scan = table.scan(row_filter or AlwaysTrue(), selected_fields=tuple(set(names) & present))
    for batch in scan.to_arrow_batch_reader():
        rows = pa.Table.from_batches([batch])
        columns = {
            name: rows[name].cast(QUARANTINE_SCHEMA.field(name).type)
            if name in present
            else pa.nulls(len(rows), QUARANTINE_SCHEMA.field(name).type)
            for name in names
        }
        yield pa.table(columns)


def _require_known_format(table: Table) -> None:
    """
    Check that this version of the provider can read and write the records.

    :raises ConfigurationError: if a newer one wrote them.
    """
    version = int(table.properties.get(FORMAT_PROPERTY, 1))
    if version > QUARANTINE_FORMAT:
        raise ConfigurationError(
            f"{'.'.join(table.name())}: a newer version of the provider wrote these records "
            f"(format {version}, this one knows {QUARANTINE_FORMAT}): upgrade it."
        )


@dataclass(frozen=True)
class _Changed:
    """The changed rows of the quarantine; each iteration reads them again, so they need not fit in memory."""

    table: Table
    row_filter: BooleanExpression
    change: Callable[[pa.Table], pa.Table]

    def __iter__(self) -> Iterator[pa.Table]:
        for rows in _parts(self.table, self.row_filter, QUARANTINE_SCHEMA.names):
            yield self.change(rows)


def _now() -> pa.Scalar:
    return pa.scalar(datetime.datetime.now(datetime.UTC), TIMESTAMP)


def _with(rows: pa.Table, now: pa.Scalar, state: str, **values: Any) -> pa.Table:
    """Return a newer version of ``rows``, with some values replaced."""
    # clocks differ: make it later than what is there in any case
    later = pc.add(rows["updated_at"], pa.scalar(datetime.timedelta(microseconds=1), pa.duration("us")))
    behind = pc.fill_null(pc.greater(later, now), False)
    values["updated_at"] = pc.if_else(behind, later, now)
    version = pc.cast(values["updated_at"], pa.string())
    values[MetadataColumn.ROW_HASH] = pc.binary_join_element_wise(rows["quarantine_id"], version, state)
    for name, value in values.items():
        column = pa.repeat(value, len(rows)) if isinstance(value, pa.Scalar) else value
        rows = rows.set_column(rows.schema.get_field_index(name), QUARANTINE_SCHEMA.field(name), column)
    return rows


def _change(catalog: Catalog, table: str, token: str, rows: Callable[[Table], Iterable[pa.Table]]) -> None:
    """Compute rows from the head of the quarantine, merge and publish them; start again if the head has moved."""
    identifier = quarantine_table(table)
    run = run_branch(catalog, f"{branches.branch_name(token)}_quarantine")

    def attempt() -> None:
        run.start(identifier)
        schema = arrow_to_iceberg(QUARANTINE_SCHEMA)
        tables.ensure_table(run.target, identifier, schema, partition_by="partition_date")
        _require_known_format(run.target.load_table(identifier))
        tables.evolve(run.target, identifier, QUARANTINE_SCHEMA)
        seen = run.target.load_table(identifier)
        merged = merge(run.target, identifier, rows(seen), PLAN, token=token, branch=run.ref)
        snapshot = run.target.load_table(identifier).snapshot_by_id(merged.snapshot_id) if merged.snapshot_id else None
        if snapshot is not None and snapshot.parent_snapshot_id != branch_head(seen):
            raise CommitConflictError(f"{identifier} has changed since it was read.")
        version = {FORMAT_PROPERTY: str(QUARANTINE_FORMAT)}
        run.publish(Publication(identifier, properties=version, expected_head=merged.head))

    with take_turn(catalog, identifier):
        retry_conflicts(attempt, identifier)
