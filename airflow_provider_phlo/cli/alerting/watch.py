"""``phlo watch``: one round of the watcher, in the terminal."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.alerts.rules.verdicts import Verdict
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.environment import project_folder
from airflow_provider_phlo.cli.terminal.errors import FAILED
from airflow_provider_phlo.cli.terminal.output import open_catalog, plain, write_lines
from airflow_provider_phlo.hooks.trino import connect_to
from airflow_provider_phlo.terms import ALERT_RULES
from airflow_provider_phlo.watching.round import RoundResult
from airflow_provider_phlo.watching.round import watch as watch_tables


def watch(args: argparse.Namespace) -> None:
    """Print what one round has seen; the exit code is 1 if something is wrong."""
    folder = project_folder()
    # Airflow's configuration takes seconds to read, and only messages have links
    base_url = settings.airflow_url() if (folder / ALERT_RULES).is_file() else ""
    result = watch_tables(
        open_catalog(),
        folder,
        datetime.now(UTC),
        dry_run=args.dry_run,
        base_url=base_url,
        connect_to_trino=connect_to(),
    )
    shown = [verdict for verdict in result.verdicts if args.all or not verdict.passed]
    if args.output == "json":
        write_lines([json.dumps(_raw(result, shown), ensure_ascii=False)])
    else:
        write_lines([*map(_line, shown), _sentence(result), *result.messages])
    for problem in result.problems:
        print(f"phlo watch: {problem}", file=sys.stderr)
    if result.wrong or result.problems:
        raise SystemExit(FAILED)


def _line(verdict: Verdict) -> str:
    """Return a verdict as a line: its sentence whole, as a table would cut it."""
    return f"{_state(verdict):<15} {verdict.rule:<17} {verdict.message}"


def _state(verdict: Verdict) -> str:
    if verdict.passed is None:
        return "cannot be said"
    return "as it should be" if verdict.passed else str(verdict.severity)


def _sentence(result: RoundResult) -> str:
    wrong, unknown = len(result.wrong), len(result.unknown)
    seen = f"{words.plural(result.tables, 'table')}: {words.plural(wrong, 'thing')} wrong"
    return f"{seen}{f', of {unknown} nothing can be said' if unknown else ''}. {words.seconds(result.seconds)}"


def _raw(result: RoundResult, shown: list[Verdict]) -> dict[str, Any]:
    return {
        "tables": result.tables,
        "wrong": len(result.wrong),
        "unknown": len(result.unknown),
        "verdicts": [
            {
                "rule": str(verdict.rule),
                "table": verdict.table,
                "subject": verdict.subject,
                "passed": verdict.passed,
                "severity": str(verdict.severity),
                "message": verdict.message,
                "facts": plain(dict(verdict.facts)),
                "group": verdict.group,
                "owner": verdict.owner,
                "tags": list(verdict.tags),
            }
            for verdict in shown
        ],
        "messages": list(result.messages),
        "problems": list(result.problems),
        "recorded": result.recorded,
        "seconds": round(result.seconds, 3),
    }
