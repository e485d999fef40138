"""``phlo materialize``, ``phlo runs stop``: run the tasks that make assets."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_phlo.airflow_api.client import AirflowApi, run_path
from airflow_provider_phlo.cli.running.progress import progress_display
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.arguments import day as day_argument
from airflow_provider_phlo.cli.terminal.errors import FAILED
from airflow_provider_phlo.cli.terminal.output import Result, show
from airflow_provider_phlo.exceptions import AirflowRefusedError, AirflowUnavailableError, ConfigurationError
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.following import RunProgress, follow
from airflow_provider_phlo.materializing.outcomes import Outcome, not_begun, outcomes
from airflow_provider_phlo.materializing.planning import PlannedRun, plan_runs
from airflow_provider_phlo.materializing.running import Asked, StartedRun, check_days, start_run, unpausing
from airflow_provider_phlo.materializing.selection import select_assets
from airflow_provider_phlo.services.supervising.airflow_login import connect
from airflow_provider_phlo.services.supervising.reading_dags import DagFiles

_PARTITION_DATE = "partition_date"
_WORDS = {"success": "done", "skipped": "nothing to do"}


def materialize(args: argparse.Namespace) -> None:
    """Run the tasks that make assets, and follow them."""
    conf = parse_conf(args.conf, full_refresh=args.full_refresh)
    day = one_day(args.partition, conf)
    asked = Asked(day, conf, unpause=args.unpause)
    assets, plans = planned(args)
    check_days(assets, plans, [day])
    for line in unpaused_dags(assets, plans, [day], allowed=args.unpause).values():
        say(f"{line}.")
    waves = [[plan for plan in plans if plan.wave == wave] for wave in sorted({plan.wave for plan in plans})]
    if not args.wait and len(waves) > 1:
        raise ConfigurationError(
            f"{_named(plans[-1])} has to wait for {_named(plans[0])}, in a run of its own: leave out --no-wait."
        )
    found: list[Outcome] = []
    for wave in waves:
        if not all(outcome.is_good for outcome in found):
            found += [outcome for plan in wave for outcome in not_begun(plan, day)]
            continue
        started = _started(assets, wave, asked, first=wave is waves[0])
        if not args.wait:
            _show_started(started, args.output)
            return
        found += _followed(assets, started, args.output)
    _show_outcomes(found, args.output)
    if not all(outcome.is_good for outcome in found):
        raise SystemExit(FAILED)


def stop(args: argparse.Namespace) -> None:
    """End a run that is queued or running."""
    api = connect(args.api_url)
    path = run_path(args.dag, args.run)
    try:
        state = api.call("GET", path)["state"]
    except AirflowRefusedError as refused:
        raise ConfigurationError(f"{args.dag} has no run {args.run}: {refused}") from None
    if state in ("success", "failed"):
        raise ConfigurationError(f"{args.run} has ended already: {state}.")
    api.call("PATCH", f"{path}?update_mask=state", {"state": "failed"})
    say(f"{args.run} was ended.")


def planned(args: argparse.Namespace) -> tuple[AssetMap, list[PlannedRun]]:
    """
    Return the assets of the Airflow that is talked to, and the runs that make what the arguments select.

    :raises ConfigurationError: no Airflow answers; nothing is selected, or it cannot be made; says why.
    """
    selectors = [*args.assets, *args.select]
    if not selectors:
        raise ConfigurationError('Which assets? Name some, or select them: phlo materialize "raw.*"')
    api = connect(args.api_url)
    files = DagFiles(api)
    files.wait_for_first_round(say)
    assets = AssetMap(api)
    try:
        selection = select_assets(assets, selectors)
    except ConfigurationError:
        # it may be in a file that was just written
        if not files.wait_for_new(say):
            raise
        assets = AssetMap(api)
        selection = select_assets(assets, selectors)
    plans = plan_runs(assets, selection.assets, selection.whole_dags, dag_id=args.dag)
    if args.full_refresh and not any(assets.assets[name].model for plan in plans for name in plan.assets):
        raise ConfigurationError("--full-refresh is for dbt models, and none is selected.")
    return assets, plans


def _named(plan: PlannedRun) -> str:
    return f"{', '.join(plan.assets) or 'all tasks'} ({plan.dag_id})"


def unpaused_dags(
    assets: AssetMap, plans: Sequence[PlannedRun], days: Sequence[str | None], *, allowed: bool
) -> dict[str, str]:
    """
    Return the DAGs that starting the runs unpauses, each with what that means, in words.

    :param days: those that they will run for; None is today.
    :raises ConfigurationError: one must not be.
    """
    by_conf: dict[str, bool] = {}
    for plan in plans:
        # the first run of a DAG unpauses it
        by_conf.setdefault(plan.dag_id, assets.dag_tasks(plan.dag_id).take_day_from_conf(plan.tasks))
    found = {dag: unpausing(assets, dag, days, allowed=allowed, by_conf=by_conf[dag]) for dag in by_conf}
    return {dag: line for dag, line in found.items() if line}


def say(line: str) -> None:
    """Print a line that is not what was asked for, but good to know."""
    print(line, file=sys.stderr, flush=True)


def parse_conf(text: str | None, *, full_refresh: bool) -> dict[str, Any]:
    """
    Return the conf of runs.

    :param text: what ``--conf`` says.
    :raises ConfigurationError: that is not a JSON object.
    """
    try:
        conf = json.loads(text) if text else {}
    except ValueError:
        conf = None
    if not isinstance(conf, dict):
        raise ConfigurationError("--conf is not a JSON object.")
    return {**conf, "dbt_full_refresh": True} if full_refresh else conf


def one_day(given: str | None, conf: Mapping[str, Any]) -> str | None:
    """
    Return the partition date that an option or the conf gives.

    :raises ConfigurationError: they contradict each other, or that of the conf is not a date.
    """
    configured = conf.get(_PARTITION_DATE)
    if configured is None:
        return given
    try:
        found = day_argument(str(configured))
    except argparse.ArgumentTypeError as wrong:
        raise ConfigurationError(f"{_PARTITION_DATE} in --conf: {wrong}") from None
    if given is not None and given != found:
        raise ConfigurationError(f"--conf says {_PARTITION_DATE} {found}, and --partition {given}: leave one out.")
    return found


def _started(assets: AssetMap, plans: Sequence[PlannedRun], asked: Asked, *, first: bool) -> list[StartedRun]:
    started: list[StartedRun] = []
    try:
        for plan in plans:
            started.append(start_run(assets, plan, asked))
    except AirflowRefusedError as refused:
        if first and not started:
            raise ConfigurationError(str(refused)) from None
        raise
    except KeyboardInterrupt:
        say_how_to_stop(assets.api, started)
        raise
    return started


def _followed(assets: AssetMap, started: Sequence[StartedRun], output: str) -> list[Outcome]:
    """Show runs until they have ended; return what they made."""
    last: list[RunProgress] = []
    try:
        with progress_display(assets, started, quiet=output == "json") as display:
            for last in follow(assets.api, started, display.warn):
                display.update(last)
    except (KeyboardInterrupt, AirflowUnavailableError):
        say_how_to_stop(assets.api, started)
        raise
    return [outcome for progress in last for outcome in outcomes(assets, progress)]


def say_how_to_stop(api: AirflowApi, started: Sequence[StartedRun]) -> None:
    """Say of runs that nobody watches any more that they go on, and how to end them."""
    for run in started:
        say(f"{run.run_id} goes on. Stop it: phlo runs stop {shlex.quote(run.plan.dag_id)} {run.run_id}")
        say(f"See it: {api.url}/dags/{run.plan.dag_id}/runs/{run.run_id}")


def _show_started(started: Sequence[StartedRun], output: str) -> None:
    rows = [(run.plan.dag_id, run.run_id, run.day, list(run.plan.assets)) for run in started]
    if output == "json":
        show(Result(["dag_id", "run_id", "partition_date", "assets"], rows), output)
        return
    for dag_id, run_id, _, names in rows:
        say(f"{dag_id}: {run_id} was started ({', '.join(names) or 'all tasks'}).")


def _show_outcomes(found: Sequence[Outcome], output: str) -> None:
    if output == "json":
        described = [_raw(outcome) for outcome in found]
        if described:
            show(Result(list(described[0]), [tuple(each.values()) for each in described]), output)
        return
    rows = [
        (
            each.name,
            _WORDS.get(each.state, each.state),
            rows_in_words(each.facts),
            _checks_in_words(each.facts),
            seconds(each.seconds),
        )
        for each in found
    ]
    show(Result(["asset", "state", "rows", "checks", "time"], rows, right=("time",)), output)
    for each in found:
        if each.reason:
            say(f"{each.name}: {each.reason}")
    bad = [each for each in found if not each.is_good]
    if bad:
        say(f"Logs: phlo logs --dag {bad[0].dag_id} --run {bad[0].run_id}")


def _raw(outcome: Outcome) -> dict[str, Any]:
    return {
        "asset": outcome.name,
        "state": outcome.state,
        "dag_id": outcome.dag_id,
        "run_id": outcome.run_id,
        "partition_date": outcome.day,
        "seconds": outcome.seconds,
        "facts": dict(outcome.facts),
        "reason": outcome.reason or None,
    }


def rows_in_words(facts: Mapping[str, Any]) -> str:
    """Return what an event says of rows: what changed, else how many there are."""
    counts = {name: value for name, value in facts.items() if type(value) is int}
    changed = words.counted(counts)
    if changed:
        return changed
    if "inserted" in counts:
        return "no row changed"
    if "rows" not in counts:
        return ""
    return words.plural(counts["rows"], "row") + (", as before" if facts.get("changed") is False else "")


def _checks_in_words(facts: Mapping[str, Any]) -> str:
    """Return what an event says of checks, or of a model's tests."""
    checks = facts.get("checks")
    if isinstance(checks, dict):
        return ", ".join(f"{value} {name}" for name, value in checks.items() if value and name != "run")
    tests, warnings = facts.get("tests"), facts.get("warnings")
    if not isinstance(tests, int) or not tests:
        return ""
    warned = len(warnings) if isinstance(warnings, list) else 0
    return f"{tests - warned} passed" + (f", {warned} warned" if warned else "")


def seconds(value: float | None) -> str:
    """Return a duration as ``4.2 s`` or ``3 minutes``."""
    if value is None:
        return ""
    return f"{value:.1f} s" if value < 60 else words.span(value)
