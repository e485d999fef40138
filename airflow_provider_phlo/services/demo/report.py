"""What the demo prints: what was built and where to look at it, or which task failed and the end of its log."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.services.postgres.server import PostgresServer
from airflow_provider_phlo.sql import quote

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_LOG_LINES = 15
_FRAMES = 3
_OVERVIEW = "SELECT * FROM marts.mrt_glucose_overview ORDER BY reading_date DESC LIMIT 1"
_PUBLISHED = """
    SELECT schemaname, tablename FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2
"""
_COMMANDS = """\
  phlo query "SHOW ALL TABLES"
  phlo query "SELECT * FROM marts.mrt_glucose_overview ORDER BY reading_date"
  phlo query "SELECT * FROM raw.glucose_entries__quarantine" --output json
  airflow dags trigger github_stats
  airflow dags trigger github_events
  airflow dags trigger github_pull_requests
"""


def lake_counts(catalog: Catalog) -> dict[str, int]:
    """Return the number of rows of every table of the catalog."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables, connect

    tables = all_tables(catalog)
    with connect(catalog, tables=tables) as connection:
        return {table: _one(connection.execute(f"SELECT count(*) FROM {quote(table)}")) for table in tables}  # noqa: S608


def quarantine_counts(catalog: Catalog) -> dict[tuple[str, str], int]:
    """Return how many rows each quarantine table has, by reason."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables, connect

    tables = [table for table in all_tables(catalog) if table.endswith("__quarantine")]
    with connect(catalog, tables=tables) as connection:
        return {
            (table, reason): count
            for table in tables
            for reason, count in connection.execute(
                f"SELECT reason, count(*) FROM {quote(table)} GROUP BY reason ORDER BY count(*) DESC, reason"  # noqa: S608
            ).fetchall()
        }


def postgres_counts(server: PostgresServer) -> dict[str, int]:
    """Return the number of rows of every table published to Postgres."""
    import psycopg

    with psycopg.connect(server.uri) as connection:
        tables = [f"{schema}.{table}" for schema, table in connection.execute(_PUBLISHED).fetchall()]
        return {
            table: _one(connection.execute(f"SELECT count(*) FROM {quote(table)}".encode()))  # noqa: S608
            for table in tables
        }


def event_counts(database: Path) -> dict[str, int]:
    """Return how many public events, batches of them, and lines that are not events the DuckDB file has."""
    import duckdb

    if not database.exists():
        return {}
    tables = ("events", "loaded_files", "rejected_lines")
    with duckdb.connect(database, read_only=True) as connection:
        return {table: _one(connection.execute(f"SELECT count(*) FROM {table}")) for table in tables}  # noqa: S608


def glucose_overview(catalog: Catalog) -> dict[str, Any]:
    """Return the last day's row of the glucose overview."""
    from airflow_provider_phlo.iceberg.duckdb.views import connect

    with connect(catalog, tables=["marts.mrt_glucose_overview"]) as connection:
        cursor = connection.execute(_OVERVIEW)
        names, row = [column[0] for column in cursor.description], cursor.fetchone()
        cells = zip(names, row, strict=True) if row else ()
        return {name: value for name, value in cells if not name.startswith("_")}


def summary(
    counts: Mapping[str, int],
    before: Mapping[str, int],
    bad: Mapping[tuple[str, str], int],
    day: Mapping[str, Any],
    published: Mapping[str, int],
    events: Mapping[str, int],
) -> str:
    """
    Return the demo's closing report.

    :param counts: rows of every table now.
    :param before: the same before the last day ran a second time.
    :param bad: rows in quarantine, by table and reason.
    :param day: the last day's glucose overview.
    :param published: rows of every table in Postgres.
    :param events: rows of the tables of public events in DuckDB.
    """
    out = io.StringIO()
    out.write("\nTables (Iceberg)\n")
    width = max(map(len, [*counts, *published]), default=0)
    for table, rows in counts.items():
        gained = rows - before.get(table, 0)
        out.write(f"  {table:{width}}  {rows:>8,}{f'  {gained:+,} from the second run' if gained else ''}\n")
    out.write("\nQuarantined, and why\n")
    for (table, reason), rows in bad.items():
        out.write(f"  {table:{width}}  {rows:>8,}  {reason}\n")
    out.write(f"\nGlucose overview, {day.get('reading_date', 'no day')}\n")
    names = max(map(len, day), default=0)
    for name, value in day.items():
        out.write(f"  {name:{names}}  {f'{value:.1f}' if isinstance(value, float) else value}\n")
    if events:
        out.write("\nPublic events (DuckDB)\n")
    for table, rows in events.items():
        out.write(f"  {table:{width}}  {rows:>8,}\n")
    out.write("\nPublished to Postgres\n")
    for table, rows in published.items():
        out.write(f"  {table:{width}}  {rows:>8,}\n")
    return out.getvalue()


def where_to_look(url: str, user: str, password: str, server: PostgresServer) -> str:
    """Return the addresses, the login and some commands to try."""
    return f"""\
Airflow     {url}   user {user}, password {password}
Postgres    {server.host}:{server.port}, database {server.dbname}: make psql

Try (in another terminal, after  eval "$(make -s env)"):
{_COMMANDS}"""


def failure_report(logs: Path, dag_id: str, run_id: str, instances: Iterable[Mapping[str, Any]]) -> str:
    """Return which tasks of a run failed, and the end of each one's log."""
    parts = []
    for task in instances:
        if task["state"] not in ("failed", "up_for_retry"):
            continue
        # a task waiting for its retry already carries the number of the next attempt
        attempt = max(1, task["try_number"] - (task["state"] == "up_for_retry"))
        log = task_log(logs, dag_id, run_id, task["task_id"], task.get("map_index", -1), attempt)
        parts.append(f"{dag_id}.{task['task_id']} failed. The end of {log}:\n{log_tail(log)}")
    return "\n".join(parts) or f"{dag_id} failed; see its run {run_id} in the UI."


def task_log(logs: Path, dag_id: str, run_id: str, task_id: str, map_index: int, attempt: int) -> Path:
    """Return where Airflow writes the log of one attempt."""
    folder = logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    if map_index >= 0:
        folder /= f"map_index={map_index}"
    return folder / f"attempt={attempt}.log"


def log_tail(log: Path, lines: int = _LOG_LINES) -> str:
    """Return the last events of a task log (JSON lines) up to its last error, as text."""
    if not log.exists():
        return "    (no log was written)"
    events = [_event(line) for line in log.read_text(errors="replace").splitlines()]
    errors = [number for number, event in enumerate(events) if event.get("level") in ("error", "critical")]
    texts = [text for event in events[: errors[-1] + 1 if errors else None] for text in _event_texts(event)]
    return "\n".join(f"    {text}" for text in texts[-lines:])


def _event(line: str) -> dict[str, Any]:
    with contextlib.suppress(json.JSONDecodeError):
        event = json.loads(line)
        if isinstance(event, dict):
            return event
    return {"event": line}


def _event_texts(event: Mapping[str, Any]) -> list[str]:
    text = str(event.get("event", ""))
    if text.startswith(("::group::", "::endgroup::")):  # folds in the UI
        return []
    texts = f"{event.get('level', '')}: {text}".splitlines()
    for cause in event.get("error_detail") or ():
        texts += [f"  {frame['filename']}:{frame['lineno']} {frame['name']}" for frame in cause["frames"][-_FRAMES:]]
        texts += f"  {cause['exc_type']}: {cause['exc_value']}".splitlines()
    return texts


def _one(cursor: Any) -> int:
    return int(cursor.fetchone()[0])
