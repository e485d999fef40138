"""``phlo forget``: show where rows of a person are, ask, remove them, and search again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import FAILED, REFUSED, exit_on_error, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.printable_text import printable

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.forgetting.everywhere import Finding
    from airflow_provider_phlo.forgetting.gathering import Gathered
    from airflow_provider_phlo.forgetting.places import Place
    from airflow_provider_phlo.forgetting.postgres import Connect

_COMMAND = "forget"
_COLUMNS = ["kind", "place", "state", "rows", "files", "snapshots", "batches", "notes"]
# for people; what is wrong is never cut off there
_FOR_PEOPLE = [*_COLUMNS[:-1], "what to do"]
_STDIN = "-"
# what nobody can search from here
_ALWAYS_BEYOND = (
    ("sources", "a backfill brings the rows again, if they are still there"),
    ("backups", "also versions that a store keeps of removed objects, snapshots of disks, WAL"),
    ("copies of others", "logs, exported files, caches, tables of other systems"),
)


def forget(args: argparse.Namespace) -> None:
    """Print where the rows are; once that is confirmed, remove them and print what is left."""
    from airflow_provider_phlo.forgetting import everywhere

    with exit_on_error(_COMMAND):
        gathered = _gather(args)
        places = gathered.places
        findings = everywhere.look(places)
    found = [each for each in findings if each.found]
    if not found or args.dry_run:
        _report(findings, "found", args.output, gathered.beyond)
        _say(args, "Nothing has been changed: leave out --dry-run to remove it." if found else "Nothing was found.")
        return
    if args.output == "table" or not args.yes:
        _report(findings, "found", "table", gathered.beyond, to_people=args.output != "table")
    _confirm(args, len(found))
    with exit_on_error(_COMMAND):
        left = everywhere.forget(places, _tell)
    before = {(each.kind, each.name) for each in found}
    shown = [each for each in left if each.found or (each.kind, each.name) in before]
    _report(shown, "left", args.output, gathered.beyond, free="forgotten")
    if any(each.found for each in left):
        exit_with(_COMMAND, "something is left: see above.", FAILED)
    _say(args, "Forgotten: a second search of all these places found nothing.")


def _gather(args: argparse.Namespace) -> Gathered:
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.cli.lake.lineage_graph import load_graph
    from airflow_provider_phlo.forgetting.gathering import Lake, gather
    from airflow_provider_phlo.forgetting.keys import parse_key
    from airflow_provider_phlo.iceberg.tables.lookup import existing_table
    from airflow_provider_phlo.naming import qualified_table
    from airflow_provider_phlo.object_store import open_folder

    catalog, identifier = open_catalog(), qualified_table(args.table)
    key = parse_key(existing_table(catalog, identifier), _given(args.key))
    lake = Lake(catalog, open_folder(settings.staging_url()), args.writer_days, args.drop_tags)
    return gather(lake, identifier, key, None if args.only_table else load_graph(args.project or ()), _connect)


def _connect(conn_id: str) -> Connect:
    """Return what opens the PostgreSQL of an Airflow connection."""
    import psycopg

    from airflow_provider_phlo.hooks.postgres import postgres_coordinates

    return lambda: psycopg.connect(**postgres_coordinates(conn_id), autocommit=True)


def _given(keys: Sequence[str]) -> list[str]:
    """
    Return the parts of the key, those from the standard input too.

    :raises ConfigurationError: there are none.
    """
    found = [part for each in keys for part in (_lines_given() if each == _STDIN else [each])]
    if not any(found):
        raise ConfigurationError("--key is empty: give the value of the key, or column=value for each of its columns.")
    return found


def _lines_given() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line]


def _confirm(args: argparse.Namespace, places: int) -> None:
    if args.yes:
        return
    if not sys.stdin.isatty():
        exit_with(_COMMAND, "nobody can be asked here, and nothing was removed: give --yes, or --dry-run.", REFUSED)
    question = f"Remove these rows from {words.plural(places, 'place')}? This cannot be undone. [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        exit_with(_COMMAND, "nothing was removed.", REFUSED)


def _tell(place: Place) -> None:
    if sys.stderr.isatty():
        print(printable(f"{place.kind} {place.name} …"), file=sys.stderr)


def _say(args: argparse.Namespace, text: str) -> None:
    if args.output == "table":
        print(text)


def _report(
    findings: Sequence[Finding],
    state: str,
    output: str,
    beyond: Sequence[tuple[str, str]] = (),
    *,
    free: str = "free",
    to_people: bool = False,
) -> None:
    rows = [_row(each, state if each.found else free) for each in findings]
    rows += [
        ("beyond", name, "not searched", None, None, None, None, [why]) for name, why in (*beyond, *_ALWAYS_BEYOND)
    ]
    if output == "table":
        rows = [(*row[:-1], "; ".join(row[-1])) for row in rows]
    stdout = sys.stdout
    try:
        sys.stdout = sys.stderr if to_people else stdout  # programs read only the result
        show(Result(_FOR_PEOPLE if output == "table" else _COLUMNS, rows), output)
    finally:
        sys.stdout = stdout


def _row(finding: Finding, state: str) -> tuple[Any, ...]:
    amounts = finding.found.amounts
    return (str(finding.kind), finding.name, state, *(amounts.get(name) for name in _COLUMNS[3:-1]), [*_notes(finding)])


def _notes(finding: Finding) -> Iterator[str]:
    if finding.found.waits:
        yield finding.found.waits
    yield from finding.found.notes
