"""``phlo catalog sync``: OpenMetadata is brought up to date."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from airflow_provider_phlo import settings
from airflow_provider_phlo.catalogs.openmetadata.reading import read_catalog
from airflow_provider_phlo.catalogs.openmetadata.sync import SyncResult, Wanted, sync_catalog
from airflow_provider_phlo.catalogs.openmetadata.tables import selected_tables
from airflow_provider_phlo.cli.lake.lineage_graph import load_graph
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import FAILED
from airflow_provider_phlo.cli.terminal.output import open_catalog, write_lines
from airflow_provider_phlo.contract_files import FOLDER
from airflow_provider_phlo.hooks.openmetadata import openmetadata_server
from airflow_provider_phlo.printable_text import printable

# of these nobody waits for the end
_FEW = 20


def sync(args: argparse.Namespace) -> None:
    """Print what was sent; the exit code is 1 if something could not be."""
    server = openmetadata_server(args.conn_id)
    catalog = open_catalog()
    wanted = Wanted(
        lineage=args.lineage or args.all,
        quality=args.quality_checks or args.all,
        contracts=args.contracts or args.all,
        is_whole=not args.tables and args.schema is None,
    )
    names = selected_tables(catalog, args.tables or (), args.schema)
    problems: list[str] = []
    facts = read_catalog(
        catalog,
        names,
        wanted,
        problems,
        graph=load_graph,
        contracts=Path(FOLDER),
        namespace=settings.default_namespace(),
    )
    result = sync_catalog(
        server, args.service or settings.catalog_name(), facts, wanted, dry_run=args.dry_run, progress=_show_progress
    )
    result.problems = problems + result.problems
    if args.output == "json":
        write_lines([json.dumps(result.to_json(), ensure_ascii=False)])
    else:
        write_lines(printable(line) for line in _lines(result, args.dry_run))
    for warning in result.warnings:
        print(f"phlo catalog sync: {printable(warning)}", file=sys.stderr)
    for problem in result.problems:
        print(f"phlo catalog sync: {printable(problem)}", file=sys.stderr)
    if result.problems:
        raise SystemExit(FAILED)


def _lines(result: SyncResult, dry_run: bool) -> list[str]:
    made, changed = ("would be created", "would be updated") if dry_run else ("created", "updated")
    return [
        *(f"{made}  {table}" for table in result.created),
        *(f"{changed}  {table}: {', '.join(parts)}" for table, parts in result.updated.items()),
        *(f"kept as it is in OpenMetadata  {each}" for each in result.kept),
        *(f"has no user or team for the owner  {each}" for each in result.unknown_owners),
        *(f"no longer here, still in OpenMetadata  {each}" for each in result.gone),
        f"{words.plural(result.tables, 'table')}: {len(result.created)} {made}, {len(result.updated)} {changed}, "
        f"{result.unchanged} as they were; {words.plural(result.requests, 'request')}",
    ]


def _show_progress(done: int, of: int) -> None:
    """Say on a terminal how far it is."""
    if sys.stderr.isatty() and of > _FEW:
        print(f"\r{done} of {of} tables", end="\n" if done == of else "", file=sys.stderr, flush=True)
