"""``phlo catalog``: the tables, their history, and rollback."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_on_error
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.printable_text import printable

if TYPE_CHECKING:
    import argparse

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from airflow_provider_phlo.iceberg.branches.history import HistoryEntry
    from airflow_provider_phlo.iceberg.branches.rollback import RollbackPlan

_COUNTS = ("inserted", "updated", "deleted", "unchanged", "duplicates", "replaced", "quarantined")
_HISTORY = ["snapshot_id", "at", "state", "operation", "strategy", "run_id", "partition_date", *_COUNTS, "rows", "refs"]
_FOR_PEOPLE = "table"
_BRANCHES = ["branch", "run_id", "partition_date", "at", "age_days", "rows", "snapshots"]


def _load(command: str, args: argparse.Namespace) -> tuple[Catalog, Table]:
    from airflow_provider_phlo.iceberg.branches.history import load
    from airflow_provider_phlo.naming import qualified_table

    with exit_on_error(command, refused=FAILED):
        catalog = open_catalog()
        return catalog, load(catalog, qualified_table(args.table))


def tables(args: argparse.Namespace) -> None:
    """Print the tables of the catalog."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    with exit_on_error("catalog tables"):
        catalog = open_catalog()
        rows = []
        for name in all_tables(catalog):
            table = find_table(catalog, name)
            if table is not None and args.schema in (None, name.rpartition(".")[0]):
                facts = _facts(table)
                rows.append((name, *(facts[key] for key in ("rows", "files", "bytes", "modified"))))
    if args.output == _FOR_PEOPLE:
        lines = [
            (name, words.number(count), words.number(files), words.size(taken), words.ago(modified))
            for name, count, files, taken, modified in rows
        ]
        show(
            Result(["table", "rows", "files", "size", "modified"], lines, right=("rows", "files", "size")), args.output
        )
    else:
        show(Result(["table", "rows", "files", "bytes", "modified"], rows), args.output)


def describe(args: argparse.Namespace) -> None:
    """Print how and where a table is stored."""
    _, table = _load("catalog describe", args)
    if args.output == _FOR_PEOPLE:
        print("\n".join(_description(table)))
    else:
        show(Result(["property", "value"], list(_facts(table).items())), args.output)


def _description(table: Table) -> Iterator[str]:
    """Yield the facts about a table in words."""
    from airflow_provider_phlo.iceberg.branches.history import history

    facts, entries = _facts(table), history(table, limit=1)
    deletes = facts["delete_files"]
    lines = {
        "rows": words.number(facts["rows"]),
        "size": f"{words.size(facts['bytes'])} in {words.plural(facts['files'], 'file')}"
        + (f" and {words.plural(deletes, 'delete file')}" if deletes else ""),
        "modified": words.ago(facts["modified"]),
        "partitions": words.partitioning(_partition_fields(table)),
        "sort order": words.sorting(_sort_fields(table)),
        "last change": _last_change(entries[0]) if entries else "none: nothing was published yet",
        "history": f"{words.plural(facts['snapshots'], 'snapshot')} kept",
        "format": facts["format"],
        "location": facts["location"],
    }
    yield ".".join(table.name())
    yield from (f"  {name:<12}  {printable(text)}" for name, text in lines.items())
    yield "  columns"
    width = max((len(name) for name in facts["columns"]), default=0)
    required = {field.name for field in table.schema().fields if field.required}
    for name, kind in facts["columns"].items():
        yield printable(f"    {name:<{width}}  {kind}{', required' if name in required else ''}")


def _last_change(entry: HistoryEntry) -> str:
    who = f", for {entry.partition_date} by {entry.run_id}" if entry.run_id else ""
    return f"{words.change(entry)}{who} (snapshot {entry.snapshot_id}, {words.ago(entry.at)})"


def _partition_fields(table: Table) -> list[tuple[str, str]]:
    schema = table.schema()
    return [(str(field.transform), str(schema.find_column_name(field.source_id))) for field in table.spec().fields]


def _sort_fields(table: Table) -> list[tuple[str, str]]:
    schema = table.schema()
    return [
        (str(schema.find_column_name(field.source_id)), field.direction.name.lower())
        for field in table.sort_order().fields
    ]


def _facts(table: Table) -> dict[str, Any]:
    metadata, snapshot = table.metadata, table.current_snapshot()
    totals = dict(snapshot.summary.additional_properties) if snapshot and snapshot.summary else {}
    schema = table.schema()
    return {
        "location": table.location(),
        "format": f"Iceberg {metadata.format_version}, {table.properties.get('write.format.default', 'parquet')}",
        "rows": int(totals.get("total-records", 0)),
        "files": int(totals.get("total-data-files", 0)),
        "delete_files": int(totals.get("total-delete-files", 0)),
        "bytes": int(totals.get("total-files-size", 0)),
        "modified": datetime.datetime.fromtimestamp(metadata.last_updated_ms / 1000, datetime.UTC),
        "partitioning": [f"{transform}({column})" for transform, column in _partition_fields(table)],
        "sorted_by": [f"{column} {direction}" for column, direction in _sort_fields(table)],
        "columns": {field.name: str(field.field_type) for field in schema.fields},
        "snapshots": len(metadata.snapshots),
        "current_snapshot": snapshot.snapshot_id if snapshot else None,
    }


def history(args: argparse.Namespace) -> None:
    """Print the snapshots of a table; for people, also the branches that were kept."""
    from airflow_provider_phlo.iceberg.branches import history as work

    command = "catalog history"
    _, table = _load(command, args)
    with exit_on_error(command):
        entries = work.history(table, branch=args.branch, limit=args.limit)
    if args.output != _FOR_PEOPLE:
        show(_history(entries), args.output)
        return
    show(_history_in_words(entries), args.output)
    if work.kept_branches(table):
        print("\nBranches of runs that did not publish:")
        show(_branches_in_words(table), args.output)


def kept_branches(args: argparse.Namespace) -> None:
    """Print the branches of runs that did not publish."""
    _, table = _load("catalog branches", args)
    show(_branches_in_words(table) if args.output == _FOR_PEOPLE else _branches(table), args.output)


def _history(entries: list[HistoryEntry]) -> Result:
    rows = [
        (
            entry.snapshot_id,
            entry.at,
            entry.state,
            entry.operation,
            entry.strategy,
            entry.run_id,
            entry.partition_date,
            *(entry.counts.get(name) for name in _COUNTS),
            entry.total_rows,
            list(entry.refs),
        )
        for entry in entries
    ]
    return Result(_HISTORY, rows)


def _history_in_words(entries: list[HistoryEntry]) -> Result:
    rows = [
        (
            words.ago(entry.at),
            f"{words.change(entry)}{f' ({entry.state})' if entry.state else ''}",
            entry.partition_date,
            words.number(entry.total_rows),
            entry.run_id,
            entry.snapshot_id,
        )
        for entry in entries
    ]
    return Result(["when", "what", "for day", "rows then", "run", "snapshot"], rows, right=("rows then",))


def _branches(table: Table) -> Result:
    from airflow_provider_phlo.iceberg.branches.history import kept_branches

    rows = [
        (item.name, item.run_id, item.partition_date, item.at, item.age_days, item.rows, item.snapshots)
        for item in kept_branches(table)
    ]
    return Result(_BRANCHES, rows)


def _branches_in_words(table: Table) -> Result:
    from airflow_provider_phlo.iceberg.branches.history import kept_branches

    rows = [
        (item.name, item.run_id, item.partition_date, words.ago(item.at), words.number(item.rows), item.snapshots)
        for item in kept_branches(table)
    ]
    return Result(["branch", "run", "for day", "written", "rows", "snapshots ahead"], rows, right=("rows",))


def rollback(args: argparse.Namespace) -> None:
    """Print what a rollback undoes, and do it if that is confirmed."""
    from airflow_provider_phlo.iceberg.branches import rollback as work

    command = "catalog rollback"
    catalog, table = _load(command, args)
    with exit_on_error(command):
        plan = work.plan_rollback(catalog, ".".join(table.name()), to_snapshot=args.to_snapshot, to_time=args.to_time)
        if args.yes:
            work.rollback(catalog, plan)
    show(_history([*plan.undone, *plan.redone]), args.output)
    # programs read only the rows
    print("\n".join(_explanation(plan, done=args.yes)), file=sys.stdout if args.output == "table" else sys.stderr)


def _explanation(plan: RollbackPlan, *, done: bool) -> Iterator[str]:
    target, verb = plan.target, "is" if done else "would be"
    direction = "set back" if plan.undone else "set forward"
    yield f"main of {plan.table} {verb} {direction} to snapshot {target.snapshot_id} of {target.at.isoformat()}."
    if plan.unmarked:
        yield f"These runs {'count' if done else 'would count'} as not done: {', '.join(plan.unmarked)}."
    yield {
        "unchanged": "The state of the source does not change.",
        "restored": f"The state of the source {verb} set back too: the next run reads again what was undone.",
        "cleared": f"The state that the source had then is no longer known: it {verb} cleared, and the next run reads "
        "everything again.",
    }[plan.state]
    if not done:
        yield "Nothing has been changed: add --yes to do it."
