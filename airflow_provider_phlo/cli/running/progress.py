"""How runs are shown while they run: a table that changes on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.following import DONE, RunProgress, TaskProgress
from airflow_provider_phlo.materializing.running import StartedRun

if TYPE_CHECKING:
    from rich.table import Table

_SIGNS = {"success": "✓", "failed": "✗", "skipped": "-", "upstream_failed": "✗", "running": "▸", "up_for_retry": "↻"}
_STYLES = {"success": "green", "failed": "red", "upstream_failed": "red", "up_for_retry": "yellow", "running": "cyan"}


class Display(Protocol):
    """What shows runs."""

    def update(self, runs: Sequence[RunProgress]) -> None:
        """Show how the runs are now."""

    def warn(self, line: str) -> None:
        """Show a line that somebody should read."""


@contextmanager
def progress_display(assets: AssetMap, started: Sequence[StartedRun], *, quiet: bool) -> Iterator[Display]:
    """
    Show runs on the standard error.

    :param quiet: show warnings only.
    """
    if quiet or not sys.stderr.isatty():
        yield _Lines(quiet=quiet)
        return
    from rich.console import Console
    from rich.live import Live

    table = _LiveTable(assets)
    with Live(get_renderable=table.render, console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
        table.live = live
        yield table


class _Lines:
    """A line for every task that has ended, or is tried again."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[tuple[str, str, int, str, int]] = set()

    def update(self, runs: Sequence[RunProgress]) -> None:
        for progress in runs:
            for task in progress.tasks:
                event = (progress.run.run_id, task.task_id, task.map_index, task.state, task.tries)
                if event in self._said or task.state not in {*DONE, "up_for_retry"}:
                    continue
                self._said.add(event)
                self._say(f"{_SIGNS.get(task.state, ' ')} {progress.run.plan.dag_id}.{_title(task)}")

    def warn(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self.warn(line)


class _LiveTable:
    """A line for every asset: how it is, what is being done, and for how long."""

    live: object = None

    def __init__(self, assets: AssetMap) -> None:
        self._assets = assets
        self._runs: Sequence[RunProgress] = ()
        self._warnings: list[str] = []
        self._began = time.monotonic()

    def update(self, runs: Sequence[RunProgress]) -> None:
        self._runs = runs

    def warn(self, line: str) -> None:
        self._warnings.append(line)

    def render(self) -> Table:
        """Return the table as it is now."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1), expand=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold", style="dim")
        table.add_column(justify="right", no_wrap=True)
        for progress in self._runs:
            for name, tasks in self._parts(progress):
                state, doing = _summary(tasks)
                sign = Text(_SIGNS.get(state, "·"), style=_STYLES.get(state, "dim"))
                table.add_row(sign, name, doing, _age(tasks))
        table.add_row("", "", "", f"{time.monotonic() - self._began:.0f} s")
        for line in self._warnings:
            table.add_row("!", line, "", "", style="yellow")
        return table

    def _parts(self, progress: RunProgress) -> Iterator[tuple[str, list[TaskProgress]]]:
        """Yield each asset of a run with its tasks, then the tasks that belong to none."""
        plan = progress.run.plan
        dag_tasks = self._assets.dag_tasks(plan.dag_id)
        left = {task.task_id for task in progress.tasks}
        for name in plan.assets:
            makers = {task.task_id for task in self._assets.assets[name].makers if task.dag_id == plan.dag_id}
            own = dag_tasks.needed_for(makers & dag_tasks.task_ids) & left
            yield name, [task for task in progress.tasks if task.task_id in own]
            left -= own
        for task in progress.tasks:
            if task.task_id in left:
                yield f"({task.task_id})", [task]


def _summary(tasks: Sequence[TaskProgress]) -> tuple[str, str]:
    """Return the state of some tasks together, and what is being done."""
    states = {task.state for task in tasks}
    for state in ("failed", "upstream_failed", "up_for_retry"):
        if state in states:
            return state, ", ".join(task.task_id for task in tasks if task.state == state)
    if states <= DONE:
        return ("skipped" if states == {"skipped"} else "success"), ""
    doing = [task for task in tasks if task.state in ("running", "queued", "scheduled", "deferred")]
    return ("running" if doing else "waiting"), ", ".join(
        f"{task.task_id.rpartition('.')[2]} {task.state}" for task in doing
    )


def _age(tasks: Sequence[TaskProgress]) -> str:
    began = [task.began for task in tasks if task.began]
    if not began:
        return ""
    ended = [task.ended for task in tasks if task.ended]
    last = max(ended) if ended and all(task.state in DONE for task in tasks) else datetime.now(UTC)
    return f"{max((last - min(began)).total_seconds(), 0):.1f} s"


def _title(task: TaskProgress) -> str:
    number = f"[{task.map_index}]" if task.map_index >= 0 else ""
    took = f"  {task.seconds:.1f} s" if task.seconds is not None else ""
    note = "" if task.state == "success" else f" {task.state.replace('_', ' ')}"
    return f"{task.task_id}{number}{took}{note}"
