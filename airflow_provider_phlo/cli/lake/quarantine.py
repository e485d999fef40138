"""``phlo quarantine``: list and show the records that broke a rule, and replay them after a fix."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal.errors import FAILED, REFUSED, exit_on_error, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.ingestion.quarantine import Selection

_COUNTS = ["table", "run_id", "partition_date", "reason", "records", "replayed", "waiting"]
_WAITING = ["quarantine_id", "run_id", "partition_date", "source_position", "reason", "quarantined_at", "replay_run_id"]
_REPLAYS = ["table", "partition_date", "dag_id", "run_id", "state", "selected", "replayed", "waiting"]
_FINAL = ("success", "failed")
_POLL_SECONDS = 1.0


def list_records(args: argparse.Namespace) -> None:
    """Print how many records were set aside, by table, run, day and reason."""
    from airflow_provider_phlo.ingestion import quarantine
    from airflow_provider_phlo.naming import qualified_table

    with exit_on_error("quarantine list"):
        catalog = open_catalog()
        names = [qualified_table(args.table)] if args.table else quarantine.quarantines(catalog)
        found = [{"table": name, **row} for name in names for row in quarantine.counts(catalog, name)]
    rows = [{**row, "waiting": row["records"] - row["replayed"]} for row in found]
    show(Result(_COUNTS, [tuple(row[name] for name in _COUNTS) for row in rows]), args.output)


def show_records(args: argparse.Namespace) -> None:
    """Print the records that have not been replayed; their values only if asked for, as these may be personal."""
    from airflow_provider_phlo.ingestion import quarantine
    from airflow_provider_phlo.naming import qualified_table

    with exit_on_error("quarantine show"):
        found = quarantine.find(
            open_catalog(), qualified_table(args.table), _selection(args), limit=args.limit, with_records=args.records
        )
    columns = [*_WAITING, *(["record"] if args.records else [])]
    show(Result(columns, [tuple(row[name] for name in columns) for row in found]), args.output)


def replay(args: argparse.Namespace) -> None:
    """Start the runs that ingest the records again, one per partition date, and wait for them."""
    from airflow_provider_phlo.ingestion import quarantine
    from airflow_provider_phlo.naming import qualified_table

    # Airflow logs to stdout, which is for the result
    with redirect_stdout(sys.stderr), exit_on_error("quarantine replay"):
        table, selection, catalog = qualified_table(args.table), _selection(args), open_catalog()
        waiting = quarantine.find(catalog, table, selection)
        if not waiting:
            exit_with(
                "quarantine replay", f"no such record of {table} waits: see phlo quarantine list {table}.", REFUSED
            )
        dag_id, group = _dag_of(table, args.dag)
        rows = []
        for day in sorted({str(row["partition_date"]) for row in waiting}):
            ids = [row["quarantine_id"] for row in waiting if str(row["partition_date"]) == day]
            run_id = _trigger(dag_id, {"table": table, "group": group, **_conf(args)}, day)
            rows.append((table, day, dag_id, run_id, ids))
        done = [_await_run(catalog, row, args.no_wait) for row in rows]
    show(Result(_REPLAYS, done), args.output)
    if not all(row[4] == "success" for row in done) and not args.no_wait:
        exit_with(
            "quarantine replay", "a run failed: see its log for the reason. Its records stay in the quarantine.", FAILED
        )


def _selection(args: argparse.Namespace) -> Selection:
    from airflow_provider_phlo.ingestion.quarantine import Selection

    return Selection(args.run, args.reason, args.date, tuple(args.id or ()))


def _conf(args: argparse.Namespace) -> dict[str, Any]:
    chosen = {"run_id": args.run, "reason": args.reason, "ids": args.id}
    return {name: value for name, value in chosen.items() if value}


# --- what Airflow knows: like Airflow's own commands, this needs its metadata database


def _dag_of(table: str, wanted: str | None) -> tuple[str, str]:
    """
    Return the DAG that fills ``table``, and the task group in it.

    :raises ConfigurationError: if there is none, or there are several, or it is paused.
    """
    producers = [each for each in _producers(table) if wanted in (None, each[0])]
    if not producers:
        raise ConfigurationError(
            f"Airflow knows no DAG {f'{wanted} ' if wanted else ''}that fills {table}: a replay is a run of the DAG "
            "that declares the table, with its schema, key and checks."
        )
    dags = sorted({dag_id for dag_id, _, _ in producers})
    if len(dags) > 1:
        raise ConfigurationError(f"{', '.join(dags)} fill {table}: choose one with --dag.")
    dag_id, task_id, paused = min(producers)
    if paused:
        raise ConfigurationError(f"DAG {dag_id} is paused: run `airflow dags unpause {dag_id}`, then replay.")
    return dag_id, task_id.rpartition(".")[0]


def _producers(table: str) -> Sequence[tuple[str, str, bool]]:
    """Return DAG, task and whether the DAG is paused, of the tasks that have ``table`` as an outlet."""
    from airflow.models.asset import AssetModel, TaskOutletAssetReference
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from airflow_provider_phlo.naming import asset_uri

    outlet = TaskOutletAssetReference
    query = (
        select(outlet.dag_id, outlet.task_id, DagModel.is_paused)
        .join(AssetModel, AssetModel.id == outlet.asset_id)
        .join(DagModel, DagModel.dag_id == outlet.dag_id)
        .where(AssetModel.uri == asset_uri(table), DagModel.is_stale.is_(False))
    )
    try:
        with create_session() as session:
            return [(dag_id, task_id, paused) for dag_id, task_id, paused in session.execute(query)]
    except (OperationalError, ProgrammingError):  # what it lacks is tables, as before its first start
        raise ConfigurationError(
            "Airflow's metadata database does not answer, or has not been set up: start the services (phlo services "
            "start), or set it up (airflow db migrate). Nothing was replayed."
        ) from None


def _trigger(dag_id: str, wanted: dict[str, Any], day: str) -> str:
    from airflow.api.client import get_current_api_client

    from airflow_provider_phlo.runs import REPLAY

    run = get_current_api_client().trigger_dag(dag_id=dag_id, conf={"partition_date": day, REPLAY: wanted})
    return str((run or {})["dag_run_id"])


def _state(dag_id: str, run_id: str) -> str:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return str(session.scalar(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)))


def _await_run(catalog: Catalog, started: Sequence[Any], no_wait: bool) -> tuple[Any, ...]:
    """Wait for a run to end, and return what became of it and its records."""
    from airflow_provider_phlo.ingestion import quarantine

    table, day, dag_id, run_id, ids = started
    state = _state(dag_id, run_id)
    while state not in _FINAL and not no_wait:
        time.sleep(_POLL_SECONDS)
        state = _state(dag_id, run_id)
    left = quarantine.find(catalog, table, quarantine.Selection(partition_date=day))
    waiting = len({row["quarantine_id"] for row in left} & set(ids))
    return table, day, dag_id, run_id, state, len(ids), len(ids) - waiting, waiting
