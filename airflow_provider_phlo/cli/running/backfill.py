"""``phlo backfill``: make assets for many days."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.running.materialize import (
    parse_conf,
    planned,
    say,
    say_how_to_stop,
    seconds,
    unpaused_dags,
)
from airflow_provider_phlo.cli.terminal import environment, words
from airflow_provider_phlo.cli.terminal.errors import FAILED
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.exceptions import AirflowUnavailableError, ConfigurationError
from airflow_provider_phlo.materializing.assets import Asset, AssetMap
from airflow_provider_phlo.materializing.attempts import failed_days
from airflow_provider_phlo.materializing.backfilling import Backfill, DayProgress, total
from airflow_provider_phlo.materializing.planning import PlannedRun
from airflow_provider_phlo.materializing.running import Asked, check_days
from airflow_provider_phlo.services.supervising import airflow_login
from airflow_provider_phlo.terms import MetadataColumn

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_MOST_DAYS = 3_660
_WIDE = 80
_WORDS = {"success": "done", "skipped": "nothing to do", "before": "done before", "waiting": "not begun"}


def backfill(args: argparse.Namespace) -> None:
    """Make assets for many days."""
    days = _days(args.start_date, args.end_date)
    assets, plans = planned(args)
    if args.missing or args.failed:
        chosen = set(_missing(assets, plans, days) if args.missing else ())
        chosen |= set(failed_days(assets, plans, days) if args.failed else ())
        days = [day for day in days if day in chosen]
    conf = parse_conf(args.conf, full_refresh=args.full_refresh)
    if "partition_date" in conf:
        raise ConfigurationError("--conf has a partition_date, and each day of a backfill has its own: leave it out.")
    # the days between are between their dates, too
    check_days(assets, plans, sorted({days[0], days[-1]}) if days else [])
    asked = Asked(None, conf, unpause=args.unpause)
    work = Backfill(assets, plans, days, asked, args.parallel)
    if args.resume:
        work.resume()
    unpaused = unpaused_dags(assets, plans, days, allowed=args.unpause) if days else {}
    if args.dry_run:
        _show_plan(work, args.output)
        for dag_id in unpaused:
            say(f"{dag_id} is paused, and would be unpaused.")
        return
    if not days:
        say("There is nothing to do.")
    else:
        for line in unpaused.values():
            say(f"{line}.")
        _run(work, args)
    _show_days(work.days.values(), args.output)
    if any(progress.state == "failed" for progress in work.days.values()):
        raise SystemExit(FAILED)


def _run(work: Backfill, args: argparse.Namespace) -> None:
    try:
        with _progress_bar(len(work.days), quiet=args.output == "json") as display:
            for days in work.run(display.warn):
                display.update(days)
    except (KeyboardInterrupt, AirflowUnavailableError):
        say("No more days are begun. Go on with the same command and --resume.")
        say_how_to_stop(work.assets.api, work.going_on)
        raise


def _days(first: str, last: str) -> list[str]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    today = datetime.now(UTC).date()
    if end < start:
        raise ConfigurationError(f"--end-date {last} is before --start-date {first}.")
    if end > today:
        raise ConfigurationError(f"--end-date {last} lies in the future, today (UTC) is {today}.")
    if (end - start).days >= _MOST_DAYS:
        raise ConfigurationError(f"{first} to {last} is more than {_MOST_DAYS:,} days.")
    return [(start + timedelta(days=number)).isoformat() for number in range((end - start).days + 1)]


def _missing(assets: AssetMap, plans: Iterable[PlannedRun], days: Sequence[str]) -> list[str]:
    """Return the days that a selected table lacks: no run for them has published, and it has no rows of them."""
    environment.enter_project_environment()
    catalog = open_catalog()
    if airflow_login.is_elsewhere(assets.api) and (folder := environment.home_of(catalog)):
        say(f"--missing asks the tables in {folder}; the runs are those of {assets.api.url}: are they the same lake?")
    made = [asset for plan in plans for asset in map(assets.assets.__getitem__, plan.assets) if asset.in_lake]
    known = [found for asset in made if (found := _published_days(catalog, asset, days)) is not None]
    if not known:
        raise ConfigurationError(
            "--missing asks which days of a table were published, and what is selected has no partition dates (models "
            "have none): select the tables that they are made from too, as in +NAME."
        )
    return [day for day in days if not all(day in found for found in known)]


def _published_days(catalog: Catalog, asset: Asset, days: Sequence[str]) -> set[str] | None:
    """Return the days that a table has; None if it does not have partition dates."""
    from airflow_provider_phlo.iceberg.files.partition_days import has_partition
    from airflow_provider_phlo.metrics.loads import table_loads

    table = asset.name
    if not catalog.table_exists(table):
        return None if asset.model else set()
    found = catalog.load_table(table)
    if MetadataColumn.PARTITION_DATE not in found.schema().column_names:
        return None
    published = {load.partition_date for load in table_loads(found).loads}
    return {
        day for day in days if day in published or has_partition(catalog, table, MetadataColumn.PARTITION_DATE, day)
    }


def _show_plan(work: Backfill, output: str) -> None:
    rows = [
        (day.day, plan.dag_id, _WORDS.get(day.state, day.state), len(plan.tasks), list(plan.assets))
        for day in work.days.values()
        for plan in work.plans
    ]
    if output == "json":
        show(Result(["day", "dag_id", "state", "tasks", "assets"], rows), output)
        return
    described = [
        (day, dag_id, state, tasks, ", ".join(names) or "all tasks") for day, dag_id, state, tasks, names in rows
    ]
    show(Result(["day", "dag", "state", "tasks", "assets"], described), output)
    say("Nothing was started (--dry-run).")


def _show_days(days: Iterable[DayProgress], output: str) -> None:
    days = list(days)
    if output == "json":
        columns = ["day", "state", "rows", "seconds", "run_ids", "reason"]
        rows = [(day.day, day.state, day.rows, day.seconds, list(day.run_ids), day.reason or None) for day in days]
        show(Result(columns, rows), output)
        return
    failed = [day for day in days if day.state == "failed"]
    print(_summary(days), flush=True)
    for day in failed:
        print(f"{day.day} failed: {day.reason}", flush=True)
    if failed:
        say("Run them again: the same command with --failed.")


def _summary(days: Sequence[DayProgress]) -> str:
    counts = {state: sum(day.state == state for day in days) for state in ("success", "skipped", "before", "failed")}
    parts = [f"{words.plural(counts['success'], 'day')} done", f"{counts['failed']} failed"]
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} with nothing to do")
    if counts["before"]:
        parts.append(f"{counts['before']} done before")
    rows = total(*(day.rows for day in days))
    return f"{', '.join(parts)}{_rows('; ', rows)}."


def _rows(before: str, rows: int | None) -> str:
    return "" if rows is None else f"{before}{words.plural(rows, 'row')} changed"


class _Lines:
    """A line for every day that has ended."""

    def __init__(self, days: int, *, quiet: bool) -> None:
        self._total, self._quiet = days, quiet
        self._said: set[str] = set()

    def update(self, days: Mapping[str, DayProgress]) -> None:
        """Print the days that have ended since last time."""
        for day in days.values():
            if day.day in self._said or not day.has_ended:
                continue
            self._said.add(day.day)
            if not self._quiet:
                took = f" in {seconds(day.seconds)}" if day.seconds is not None else ""
                state = _WORDS.get(day.state, day.state)
                say(f"{len(self._said)}/{self._total} {day.day} {state}{took}{_rows(', ', day.rows)}")

    def warn(self, line: str) -> None:
        """Print a line that somebody should read."""
        say(line)


class _Bar:
    """A bar with days done, days failed and rows."""

    def __init__(self, progress: Any, days: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=days, failed=0, rows="", now="")

    def update(self, days: Mapping[str, DayProgress]) -> None:
        """Show how the days are now."""
        self._progress.update(
            self._task,
            completed=sum(day.has_ended for day in days.values()),
            failed=sum(day.state == "failed" for day in days.values()),
            rows=_rows(", ", total(*(day.rows for day in days.values()))),
            now=" ".join(day.day for day in days.values() if day.state == "running"),
        )

    def warn(self, line: str) -> None:
        """Show a line that somebody should read, above the bar."""
        self._progress.console.print(line, style="yellow", highlight=False, markup=False)


@contextmanager
def _progress_bar(days: int, *, quiet: bool) -> Iterator[_Lines | _Bar]:
    if quiet or not sys.stderr.isatty():
        yield _Lines(days, quiet=quiet)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("days, {task.fields[failed]} failed{task.fields[rows]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    # what runs now has no room on a narrow terminal
    running = [TextColumn("{task.fields[now]}", style="dim")] if console.width >= _WIDE else []
    with Progress(*columns, *running, console=console) as progress:
        yield _Bar(progress, days)
