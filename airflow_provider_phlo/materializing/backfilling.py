"""Make assets for many days: a number of days at once, resumed from the runs that Airflow has of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.airflow_api.client import dag_path
from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.attempts import failed_tasks
from airflow_provider_phlo.materializing.following import Silences, run_progress
from airflow_provider_phlo.materializing.outcomes import Outcome, outcomes
from airflow_provider_phlo.materializing.planning import PlannedRun
from airflow_provider_phlo.materializing.running import Asked, StartedRun, start_run

_PAUSE = 1.0
_PREFIX = "phlo_backfill"
_CHANGES = ("inserted", "updated", "deleted", "replaced")


@dataclass(frozen=True)
class DayProgress:
    """
    How a day of a backfill is.

    :param state: ``waiting``, ``running``, ``success``, ``failed``; ``skipped`` if all that makes its assets had
        nothing to do; ``before`` if an earlier attempt had done it.
    :param rows: how many rows its runs have changed; None if nothing that they made says so.
    :param reason: why it failed.
    """

    day: str
    state: str
    rows: int | None = None
    seconds: float | None = None
    run_ids: tuple[str, ...] = ()
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Return whether nothing is left to do for it."""
        return self.state in ("success", "failed", "skipped", "before")


@dataclass
class _Active:
    """
    A day that is being made.

    :param refused: why a run of its wave could not be started; those that were are waited for.
    :param states: what became of its assets, in waves that have ended.
    :param ask_at: when to ask why it does not get on, by ``time.monotonic()``.
    """

    wave: int
    runs: list[StartedRun]
    began: float
    rows: int | None = None
    run_ids: list[str] = field(default_factory=list)
    refused: str = ""
    ask_at: float = 0
    states: set[str] = field(default_factory=set)


class Backfill:
    """
    Runs of the same assets for many days.

    :param plans: the runs of each day, by wave.
    :param days: in the order in which they begin.
    :param asked: what is asked of each run; its day is set here.
    :param parallel: at most this many days run at once.
    """

    def __init__(
        self, assets: AssetMap, plans: Sequence[PlannedRun], days: Sequence[str], asked: Asked, parallel: int
    ) -> None:
        self.assets = assets
        self.plans = plans
        self.asked = asked
        self._parallel = parallel
        self._waves = sorted({plan.wave for plan in plans})
        self._active: dict[str, _Active] = {}
        self._silences = Silences(assets.api)
        self._warned = False
        self.days = {day: DayProgress(day, "waiting") for day in days}
        self.id = _identity(plans, asked)

    def resume(self) -> None:
        """Take over what earlier attempts have done: days that are done, and runs that go on."""
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        planned = {(plan.dag_id, plan.wave): plan.tasks for plan in self.plans}
        for dag_id in dict.fromkeys(plan.dag_id for plan in self.plans):
            path = f"{dag_path(dag_id)}/dagRuns?run_id_prefix_pattern={quote(self._prefix(), safe='')}"
            failed = failed_tasks(self.assets.api, dag_id, self._prefix())
            for run in self.assets.api.pages(path, "dag_runs"):
                _, identity, day, number, _ = run["dag_run_id"].split("__")
                wave = int(number)
                if identity == self.id and day in self.days and (dag_id, wave) in planned:
                    # Airflow's word is about the last tasks of the DAG, which may be among those left out
                    not_made = failed.get(run["dag_run_id"], set()) & planned[dag_id, wave]
                    has_failed = run["state"] == "success" and not_made
                    found.setdefault((day, wave), []).append({**run, "state": "failed"} if has_failed else run)
        for day in self.days:
            self._resume_day(day, {wave: found.get((day, wave), []) for wave in self._waves})

    def run(self, warn: Callable[[str], None]) -> Iterator[Mapping[str, DayProgress]]:
        """
        Start and watch runs until every day is made or has failed; yield how the days are, whenever that has changed.

        :param warn: gets a line when a run does not get on, once until a day gets on.
        """
        yield self.days
        while not all(day.has_ended for day in self.days.values()):
            before = dict(self.days)
            for day in [day for day, progress in self.days.items() if progress.state == "waiting"]:
                if len(self._active) >= self._parallel:
                    break
                self._begin(day)
            for day in list(self._active):
                with self._failing(day):
                    self._look(day, warn)
            if self.days != before:
                self._warned = False
                yield self.days
            if self._active:
                time.sleep(_PAUSE)

    @property
    def going_on(self) -> list[StartedRun]:
        """Return the runs that have not ended."""
        return [run for active in self._active.values() for run in active.runs]

    def _prefix(self) -> str:
        return f"{_PREFIX}__{self.id}__"

    def _begin(self, day: str) -> None:
        self._active[day] = _Active(self._waves[0], [], time.monotonic())
        with self._failing(day):
            self._start_wave(day)

    @contextmanager
    def _failing(self, day: str) -> Iterator[None]:
        """
        End one day for an error, so that the others go on.

        :raises AirflowUnavailableError: Airflow does not answer others either.
        :raises ConfigurationError: it does not accept who asks any more.
        """
        try:
            yield
        except PhloError as error:
            self.assets.api.call("GET", "/dags?limit=1")
            self._end(day, "failed", str(error))

    def _start_wave(self, day: str) -> None:
        active = self._active[day]
        for plan in self.plans:
            if plan.wave != active.wave or active.refused:
                continue
            name = f"{self._prefix()}{day}__{plan.wave}"
            try:
                run = start_run(self.assets, plan, replace(self.asked, day=day), name=name)
            except PhloError as error:
                if not active.runs:
                    raise
                active.refused = f"{plan.dag_id}: {error}"
            else:
                active.runs.append(run)
                active.run_ids.append(run.run_id)
        self.days[day] = replace(self.days[day], state="running", run_ids=tuple(active.run_ids))

    def _look(self, day: str, warn: Callable[[str], None]) -> None:
        active = self._active[day]
        found = [run_progress(self.assets.api, run, None, tasks=False) for run in active.runs]
        if not all(progress.has_ended for progress in found):
            self._say_why_not(active, warn)
            return
        made = [
            outcome
            for progress in found
            for outcome in outcomes(self.assets, run_progress(self.assets.api, progress.run, None))
        ]
        active.rows = total(active.rows, *(_changed(outcome.facts) for outcome in made))
        active.states |= {outcome.state for outcome in made}
        failed = [outcome for outcome in made if not outcome.is_good]
        if active.refused or failed:
            self._end(day, "failed", active.refused or _reason(failed))
        elif active.wave == self._waves[-1]:
            self._end(day, "skipped" if active.states == {"skipped"} else "success", "")
        else:
            active.wave = self._waves[self._waves.index(active.wave) + 1]
            active.runs = []
            self._start_wave(day)

    def _say_why_not(self, active: _Active, warn: Callable[[str], None]) -> None:
        """Say, at times, why a run of a day does not get on."""
        now = time.monotonic()
        if now < active.ask_at:
            return
        active.ask_at = now + self._silences.pause
        for run in active.runs:
            line = self._silences.why(run_progress(self.assets.api, run, None))
            if line and not self._warned:
                self._warned = True
                warn(line)

    def _end(self, day: str, state: str, reason: str) -> None:
        active = self._active.pop(day)
        self.days[day] = DayProgress(
            day, state, active.rows, time.monotonic() - active.began, tuple(active.run_ids), reason
        )

    def _resume_day(self, day: str, by_wave: Mapping[int, list[dict[str, Any]]]) -> None:
        for wave in self._waves:
            newest = _newest_by_dag(by_wave[wave])
            plans = [plan for plan in self.plans if plan.wave == wave]
            states = [newest[plan.dag_id]["state"] if plan.dag_id in newest else "" for plan in plans]
            if all(state == "success" for state in states):
                continue
            if all(states) and "failed" not in states:
                runs = [_adopted(plan, newest[plan.dag_id], day) for plan in plans]
                self._active[day] = _Active(wave, runs, time.monotonic(), run_ids=[run.run_id for run in runs])
                self.days[day] = DayProgress(day, "running", run_ids=tuple(run.run_id for run in runs))
            return
        self.days[day] = DayProgress(day, "before")


def _reason(failed: Sequence[Outcome]) -> str:
    """Return why a day failed: of what failed, the first that says so."""
    first = next((outcome for outcome in failed if outcome.reason), failed[0])
    return f"{first.name}: {first.reason or first.state}"


def _adopted(plan: PlannedRun, run: Mapping[str, Any], day: str) -> StartedRun:
    return StartedRun(plan, run["dag_run_id"], day, time.monotonic())


def _newest_by_dag(runs: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {run["dag_id"]: run for run in sorted(runs, key=lambda run: str(run["run_after"]))}


def _identity(plans: Sequence[PlannedRun], asked: Asked) -> str:
    """Return what names a backfill: what is made, and how. Its days may differ from attempt to attempt."""
    what = [[plan.wave, plan.dag_id, list(plan.assets), sorted(plan.tasks)] for plan in plans]
    text = json.dumps([what, dict(asked.conf or {})], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def total(*counts: int | None) -> int | None:
    """Return the sum of the counts that are known; None if none is."""
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def _changed(facts: Mapping[str, Any]) -> int | None:
    # of tables that are filled from a source; models are replaced as a whole, and of other assets nothing is known
    return sum(int(facts.get(name) or 0) for name in _CHANGES) if "read" in facts else None
