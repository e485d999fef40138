"""Figures of DAG runs over a period, from Airflow's API: how many, how many succeeded, how long they took."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from airflow_provider_phlo.airflow_api.client import dag_path
from airflow_provider_phlo.materializing.attempts import OWN_RUNS, failed_tasks, left_out_of

if TYPE_CHECKING:
    from airflow_provider_phlo.airflow_api.client import AirflowApi
    from airflow_provider_phlo.metrics.figures import Period

_SUCCESS, _FAILED = "success", "failed"


@dataclass(frozen=True)
class Run:
    """
    One run of a DAG.

    :param state: ``success``, ``failed``, ``running`` or ``queued``.
    :param seconds: from its start to its end; None while it goes on.
    """

    dag_id: str
    run_id: str
    state: str
    seconds: float | None


@dataclass(frozen=True)
class RunFigures:
    """
    The runs of one DAG, or of all.

    :param succeeded: runs that ended in the period, well.
    :param failed: runs that ended in the period, failed.
    :param unfinished: runs that are queued or going on now.
    :param success_rate: succeeded / (succeeded + failed); None if no run ended.
    :param average_seconds: mean time from start to end of the runs that ended; None if none did.
    :param p95_seconds: their 95th percentile, see :func:`percentile`.
    """

    dag_id: str
    succeeded: int
    failed: int
    unfinished: int
    success_rate: float | None
    average_seconds: float | None
    p95_seconds: float | None


def run_figures(dag_id: str, runs: Iterable[Run]) -> RunFigures:
    """Return the figures of these runs."""
    found = list(runs)
    ended = [run for run in found if run.state in (_SUCCESS, _FAILED)]
    seconds = [run.seconds for run in ended if run.seconds is not None]
    succeeded = sum(run.state == _SUCCESS for run in ended)
    return RunFigures(
        dag_id,
        succeeded,
        len(ended) - succeeded,
        len(found) - len(ended),
        succeeded / len(ended) if ended else None,
        math.fsum(seconds) / len(seconds) if seconds else None,
        percentile(seconds, 0.95) if seconds else None,
    )


def figures_by_dag(runs: Iterable[Run]) -> list[RunFigures]:
    """Return the figures of each DAG, by name."""
    by_dag: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_dag[run.dag_id].append(run)
    return [run_figures(dag_id, found) for dag_id, found in sorted(by_dag.items())]


def percentile(values: Sequence[float], fraction: float) -> float:
    """
    Return a percentile by linear interpolation between the two nearest values.

    With the n values in order, counted from 0, it is the value at position (n - 1) * fraction: what DuckDB calls
    ``quantile_cont`` and NumPy ``linear``.

    :param values: at least one.
    :param fraction: from 0 to 1.
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * fraction
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def read_runs(api: AirflowApi, period: Period, dag_id: str | None = None, makers: Collection[str] = ()) -> list[Run]:
    """
    Return the runs that ended in the period, and those that have not ended.

    Airflow calls a run a success if its last tasks are. In one that was started for some of its tasks, those may be
    among the others, which are marked as done: it has failed if one of its tasks has.

    :param dag_id: only of this DAG.
    :param makers: only runs in which one of these tasks was not left out.
    """
    dag = dag_path(dag_id or "~")
    ended = [("end_date_gte", period.since.isoformat()), ("end_date_lt", period.until.isoformat())]
    ended += [("state", _SUCCESS), ("state", _FAILED)]
    going_on = [("state", "queued"), ("state", "running")]
    answers = [
        answer
        for wanted in (ended, going_on)
        for answer in api.pages(f"{dag}/dagRuns?{urlencode([*wanted, ('order_by', 'id')])}", "dag_runs")
    ]
    own = [answer for answer in answers if answer["dag_run_id"].startswith(OWN_RUNS)]
    if not own:
        return [_run(answer) for answer in answers]
    since = min(answer["run_after"] for answer in own)
    failed = failed_tasks(api, dag_id or "~", OWN_RUNS, since)
    left_out = left_out_of(api, dag_id, makers, since) if dag_id else set()
    return [
        _run({**answer, "state": _FAILED} if answer["state"] == _SUCCESS and run_id in failed else answer)
        for answer in answers
        if (run_id := answer["dag_run_id"]) not in left_out
    ]


def _run(answer: Mapping[str, str]) -> Run:
    begun, ended = answer.get("start_date"), answer.get("end_date")
    seconds = None
    if begun and ended:
        between = datetime.datetime.fromisoformat(ended) - datetime.datetime.fromisoformat(begun)
        seconds = between.total_seconds()
    return Run(answer["dag_id"], answer["dag_run_id"], answer["state"], seconds)
