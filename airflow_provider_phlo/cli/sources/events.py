"""``phlo events``: ask the public events that were published last, and load new batches."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal.errors import exit_on_error
from airflow_provider_phlo.cli.terminal.output import Result, show
from airflow_provider_phlo.exceptions import FilesFailedError

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.events.paths import EventPaths


def top_repos(args: argparse.Namespace) -> None:
    """Print the repositories with the most events."""
    from airflow_provider_phlo.events.queries import TOP_REPOS

    _ask("events top-repos", TOP_REPOS, args)


def sessions(args: argparse.Namespace) -> None:
    """Print the latest sessions of users."""
    from airflow_provider_phlo.events.queries import USER_SESSIONS

    _ask("events sessions", USER_SESSIONS, args)


def _ask(command: str, query: str, args: argparse.Namespace) -> None:
    from airflow_provider_phlo.events.queries import PublishedEvents

    with exit_on_error(command):
        answer = PublishedEvents(_paths().published).ask(query, days=args.days, limit=args.limit)
    show(Result(answer.columns, answer.rows), args.output)
    if answer.published_at is None:
        print("No load has published events yet: run a load (phlo events load).", file=sys.stderr)


def load(args: argparse.Namespace) -> None:
    """Load the batches that are new in this process, publish, and print what was done."""
    from airflow_provider_phlo.events.loading import load_and_publish
    from airflow_provider_phlo.object_store import open_folder

    with exit_on_error("events load"):
        paths = _paths()
        try:
            result = load_and_publish(
                open_folder(paths.raw), paths.database, verify=args.verify, wait_seconds=args.wait
            )
        except FilesFailedError as error:
            _show(error.result.to_json(), args.output)
            raise
        _show(result.to_json(), args.output)


def _show(counts: dict[str, Any], output: str) -> None:
    show(Result(list(counts), [tuple(counts.values())]), output)


def _paths() -> EventPaths:
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.events.paths import event_paths

    return event_paths(settings.home())
