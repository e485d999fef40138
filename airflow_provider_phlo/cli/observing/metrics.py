"""``phlo metrics``: figures of runs and tables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal import charts, environment, words
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, plain, show, terminal_width, write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.metrics.figures import Period, TableFigures, catalog_figures, table_figures
from airflow_provider_phlo.metrics.names import find_name
from airflow_provider_phlo.metrics.runs import Run, RunFigures, figures_by_dag, read_runs, run_figures
from airflow_provider_phlo.run_logs.names import Assets
from airflow_provider_phlo.services.supervising import airflow_login

if TYPE_CHECKING:
    import argparse

    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.airflow_api.client import AirflowApi

_TOP = 10
_CHART_WIDTH, _NARROW_CHART = 40, 12
# what a table shows of the rows of a day
_ROWS = ("read", "inserted", "updated", "deleted", "unchanged", "duplicates", "quarantined", "written")
_ALL_DAGS = "all DAGs"


def metrics(args: argparse.Namespace) -> None:
    """Show figures of everything, or of one table."""
    period = _period(args.period)
    match args.what:
        case [] | ["summary"]:
            _summary(args, period)
        case ["asset", name]:
            _asset(args, period, name)
        case ["asset"]:
            raise ConfigurationError("asset which? Write the name of a table behind it, e.g. asset raw.user_events.")
        case [word, *_]:
            raise ConfigurationError(f"{word!r} is not known here: write summary, or asset and the name of a table.")


def _period(length: timedelta) -> Period:
    now = datetime.now(UTC)
    # a day is 24 hours, a week 7 days
    whole = length.total_seconds()
    hours, days = int(whole // 3600), int(whole // 86_400)
    text = words.span(whole) if days > 1 or not hours else words.plural(hours, "hour")
    return Period(now - length, now, text)


def _summary(args: argparse.Namespace, period: Period) -> None:
    api, problem = _airflow(args)
    runs = read_runs(api, period) if api else []
    catalog, unknown = _catalog(args, api)
    tables = catalog_figures(catalog, period) if catalog else []
    if args.output == "json":
        dags = [_raw_runs(each) for each in figures_by_dag(runs)]
        total = _raw_runs(run_figures("", runs)) if api else None
        raw = [_raw_table(each) for each in tables] if catalog else None
        _write_json(period, {"runs": total, "dags": dags, "tables": raw}, problem, unknown)
        return
    write_lines([f"The last {period.text}, until {period.until:%Y-%m-%d %H:%M} UTC", ""])
    if api:
        _show_runs(runs, "No run ended.")
    else:
        write_lines([f"Runs: {problem}"])
    print()
    if unknown:
        write_lines([f"Tables: {unknown}"])
    else:
        _show_tables(tables)
    _show_notes(tables, period)


def _asset(args: argparse.Namespace, period: Period, name: str) -> None:
    api, problem = _airflow(args)
    assets = Assets.read(api) if api else Assets()
    catalog, unknown = _catalog(args, api)
    figures = _figures_of(api, catalog, assets, name, period)
    makers = assets.producers.get(figures.table, {})
    runs = [run for dag_id in sorted(makers) for run in read_runs(api, period, dag_id, makers[dag_id])] if api else []
    if args.output == "json":
        dags = [_raw_runs(each) for each in figures_by_dag(runs)]
        _write_json(period, {"table": _raw_table(figures), "dags": dags}, problem, unknown)
        return
    write_lines(_described(figures, period))
    if unknown:
        write_lines(["", f"Counted by its events in Airflow. {unknown}"])
    if api:
        print()
        _show_runs(runs, "No run of a DAG that makes it ended.")
    else:
        write_lines(["", f"Runs: {problem}"])
    if any(figures.per_day.values()):
        print()
        _show_days(figures)
    _show_notes([figures], period)


def _figures_of(
    api: AirflowApi | None, catalog: Catalog | None, assets: Assets, name: str, period: Period
) -> TableFigures:
    """Return the figures of a table of the catalog, else of an asset that Airflow knows by its events."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables
    from airflow_provider_phlo.metrics.events import asset_loads

    tables = all_tables(catalog) if catalog else []
    found = find_name(name, tables, assets.tasks)
    if catalog and found in tables:
        [figures] = catalog_figures(catalog, period, [found])
        return figures
    loads = asset_loads(api, found, period) if api else None
    if loads is None:
        raise ConfigurationError(f"Airflow does not know {found} any more.")
    return table_figures(loads, period)


def _airflow(args: argparse.Namespace) -> tuple[AirflowApi | None, str]:
    """Return the Airflow to ask, or why there is none; one that was named has to answer."""
    try:
        return airflow_login.connect(args.api_url), ""
    except ConfigurationError as error:
        if args.api_url or os.environ.get(airflow_login.URL):
            raise
        return None, str(error)


def _catalog(args: argparse.Namespace, api: AirflowApi | None) -> tuple[Catalog | None, str]:
    """Return the catalog of tables, or why there is none; an Airflow that was named has something to say without it."""
    unknown = environment.no_catalog()
    if unknown and (args.api_url or os.environ.get(airflow_login.URL)):
        return None, unknown
    catalog = open_catalog()
    if api and airflow_login.is_elsewhere(api) and (folder := environment.home_of(catalog)):
        print(f"Runs are those of {api.url}, tables those in {folder}: are they the same lake?", file=sys.stderr)
    return catalog, ""


# --- for people


def _show_runs(runs: Sequence[Run], nothing: str) -> None:
    by_dag = figures_by_dag(runs)
    if not by_dag:
        write_lines([nothing])
        return
    total = [run_figures(_ALL_DAGS, runs)] if len(by_dag) > 1 else []
    rows = [
        (
            each.dag_id,
            words.number(each.succeeded + each.failed),
            words.percent(each.success_rate),
            words.number(each.failed) if each.failed else "",
            words.number(each.unfinished) if each.unfinished else "",
            words.seconds(each.average_seconds),
            words.seconds(each.p95_seconds),
        )
        for each in (*by_dag, *total)
    ]
    columns = ["DAG", "runs", "succeeded", "failed", "going on", "average", "p95"]
    show(Result(columns, rows, right=tuple(columns[1:]), counted=False), "table")


def _show_tables(tables: Sequence[TableFigures]) -> None:
    if not tables:
        write_lines(["The catalog has no tables yet."])
        return
    shown = tables[:_TOP]
    chart = charts.bars([each.volume for each in shown], _NARROW_CHART)
    rows = [
        (
            each.table,
            words.number(each.volume) if each.loads else "",
            bar,
            words.number(each.counts.get("quarantined")) if each.counts.get("quarantined") else "",
            words.number(each.total_rows),
            words.ago(each.last_at) if each.last_at else "",
            each.partition_date,
        )
        for each, bar in zip(shown, chart, strict=True)
    ]
    columns = ["table", "rows changed", "", "set aside", "rows now", "published", "for day"]
    show(Result(columns, rows, right=("rows changed", "set aside", "rows now"), counted=False), "table")
    if len(tables) > _TOP:
        write_lines([f"{words.plural(len(tables) - _TOP, 'more table')} with less: --output json has all."])


def _described(figures: TableFigures, period: Period) -> Iterator[str]:
    yield f"{figures.table}, the last {period.text}, until {period.until:%Y-%m-%d %H:%M} UTC"
    for_day = f", for {figures.partition_date}" if figures.partition_date else ""
    fresh = f"{words.ago(figures.last_at)}{for_day}" if figures.last_at else "never, as far as is known"
    counts = ", ".join(f"{figures.counts[name]:,} {name}" for name in _ROWS if figures.counts.get(name))
    silent = figures.loads and not figures.counts
    lines = {
        "published": f"{words.plural(figures.loads, 'time')}; the last: {fresh}",
        "rows": counts or ("what publishes it says nothing of rows" if silent else "nothing was changed"),
        "rows now": words.number(figures.total_rows),
    }
    yield from (f"  {name:<10}  {text}" for name, text in lines.items() if text)


def _show_days(figures: TableFigures) -> None:
    days = list(figures.per_day.items())
    changed = [sum(counts.get(name, 0) for name in ("inserted", "updated", "deleted", "written")) for _, counts in days]
    width = terminal_width()
    chart = charts.bars(changed, _NARROW_CHART if width and width < 2 * _CHART_WIDTH else _CHART_WIDTH // 2)
    rows = [
        (f"{day:%Y-%m-%d}", *(words.number(counts.get(name)) for name in _ROWS), bar)
        for (day, counts), bar in zip(days, chart, strict=True)
    ]
    show(Result(["day", *_ROWS, "changed"], rows, right=_ROWS, counted=False), "table")


def _show_notes(tables: Sequence[TableFigures], period: Period) -> None:
    """Say what the figures are without."""
    for each in tables:
        if each.unknown_before:
            print(
                f"{each.table}: what was written before {each.unknown_before:%Y-%m-%d %H:%M} UTC has expired with its "
                f"snapshots, and is not in these figures of the last {period.text}.",
                file=sys.stderr,
            )
        if each.undone:
            print(
                f"{each.table}: main was set back from {words.plural(each.undone, 'snapshot')}, which no figure has.",
                file=sys.stderr,
            )


# --- for programs


def _write_json(period: Period, content: dict[str, Any], problem: str, unknown: str) -> None:
    head = {"since": period.since, "until": period.until, "airflow": problem or None, "catalog": unknown or None}
    write_lines([json.dumps(plain({**head, **content}), ensure_ascii=False)])


def _raw_runs(figures: RunFigures) -> dict[str, Any]:
    found = asdict(figures)
    return found if figures.dag_id else {name: value for name, value in found.items() if name != "dag_id"}


def _raw_table(figures: TableFigures) -> dict[str, Any]:
    days = [{"day": day, **counts} for day, counts in figures.per_day.items()]
    return {**asdict(figures), "per_day": days}
