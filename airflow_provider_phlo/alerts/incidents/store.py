"""
The table ``phlo.incidents``: the whole state, in one small file that every change replaces.

A change is decided on what was read and committed only if that is still so; otherwise it is decided anew. Its snapshot
says how much there is to be looked after, so that a round in which nothing happens reads no row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_phlo.alerts.incidents.state import (
    Incident,
    IncidentState,
    Key,
    Message,
    MessageState,
    Silence,
    State,
    Status,
)
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, RunRef, Severity
from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

TABLE = "phlo.incidents"
VERSION = 1
_LIVE, _WAITING = "phlo.incidents-live", "phlo.messages-waiting"
# every change makes a snapshot: an hour of them is history enough, the rows themselves have the rest
_PROPERTIES = {
    "history.expire.max-snapshot-age-ms": str(3_600_000),
    "history.expire.min-snapshots-to-keep": "10",
    "write.metadata.previous-versions-max": "10",
}
# of younger ones, no more than this many stay; they expire in batches
_KEPT_SNAPSHOTS, _MOST_SNAPSHOTS = 20, 40
_ENUMS = (RuleKind, Severity, IncidentState, Status, MessageState)
Record = TypeVar("Record", Incident, Message, Silence)


def is_quiet(catalog: Catalog) -> bool:
    """Return whether there is nothing that time alone may change, and nothing to be sent; no row is read."""
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    table = find_table(catalog, TABLE)
    snapshot = table.current_snapshot() if table is not None else None
    if snapshot is None:
        return True
    said = snapshot.summary.additional_properties if snapshot.summary else {}
    return said.get(_LIVE) == "0" and said.get(_WAITING) == "0"


def read_state(catalog: Catalog) -> State:
    """Return what is known of incidents; nothing if there is no table."""
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    table = find_table(catalog, TABLE)
    return State() if table is None else _read(table)


def change(catalog: Catalog, decide: Callable[[State], State]) -> State:
    """
    Change the state, and return what it is then.

    :param decide: returns the state that follows from the one it gets; called again if another was faster.
    :raises CommitConflictError: others were faster every time.
    :raises TransientError: the disk is full.
    """
    from pyiceberg.exceptions import CommitFailedException

    from airflow_provider_phlo.iceberg import tables
    from airflow_provider_phlo.iceberg.branches.upkeep import MOST_PROPERTY
    from airflow_provider_phlo.iceberg.catalogs.retries import COMMIT_ROUNDS, retry_conflicts
    from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
    from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg

    def attempt() -> State:
        table = tables.find_table(catalog, TABLE)
        old = State() if table is None else _read(table)
        new = decide(old)
        if new != old:
            if table is None:
                table = tables.ensure_table(catalog, TABLE, arrow_to_iceberg(_columns()), properties=_PROPERTIES)
                with suppress(CommitFailedException), table.transaction() as transaction:
                    transaction.set_properties({MOST_PROPERTY: str(_KEPT_SNAPSHOTS)})
                table = catalog.load_table(TABLE)
                if table.current_snapshot() is not None:  # another process was faster
                    return attempt()
            _write(catalog, table, new)
        return new

    with take_turn(catalog, TABLE):
        return retry_conflicts(attempt, TABLE, COMMIT_ROUNDS)


def _read(table: Table) -> State:
    import pyarrow as pa

    from airflow_provider_phlo.iceberg.files.manifests import live_tasks
    from airflow_provider_phlo.iceberg.files.reading import read_file
    from airflow_provider_phlo.iceberg.tables.refs import branch_head

    columns = ["record", "content"]
    parts = [rows for task in live_tasks(table, branch_head(table)) for rows in read_file(table, task, columns)]
    if not parts:
        return State()
    rows = pa.concat_tables(parts)
    return _state(zip(rows["record"].to_pylist(), rows["content"].to_pylist(), strict=True))


def _state(rows: Iterator[tuple[str, str]]) -> State:
    incidents: dict[Key, Incident] = {}
    past: list[Incident] = []
    messages: dict[str, Message] = {}
    silences: list[Silence] = []
    for record, text in rows:
        content = json.loads(text)
        require_known_version(content, VERSION, f"What {TABLE} holds")
        if record == "incident":
            incident = _from_json(Incident, content)
            incidents[incident.key] = incident
        elif record == "past":
            past.append(_from_json(Incident, content))
        elif record == "message":
            message = _from_json(Message, content)
            messages[message.id] = message
        else:
            silences.append(_from_json(Silence, content))
    return State(incidents, tuple(past), messages, tuple(silences))


def _write(catalog: Catalog, table: Table, state: State) -> None:
    from airflow_provider_phlo.exceptions import CommitConflictError
    from airflow_provider_phlo.iceberg.branches.commits import commit_files
    from airflow_provider_phlo.iceberg.content import as_content, fitted
    from airflow_provider_phlo.iceberg.files.manifests import live_tasks
    from airflow_provider_phlo.iceberg.files.writing import write_files
    from airflow_provider_phlo.iceberg.tables.refs import branch_head

    old = [task.file for task in live_tasks(table, branch_head(table))]
    new = write_files(table, fitted(as_content(TABLE, _rows(state)), table), "incidents")
    summary = {_LIVE: str(state.live), _WAITING: str(state.waiting)}
    try:
        commit_files(catalog, table, MAIN_BRANCH, added=new, removed=old, summary=summary)
    except CommitConflictError:
        for file in new:
            table.io.delete(file.file_path)
        raise
    _expire(catalog)


def _expire(catalog: Catalog) -> None:
    """Let old snapshots expire; if that fails, the next change does it."""
    from pyiceberg.exceptions import CommitFailedException

    from airflow_provider_phlo.iceberg.branches.upkeep import upkeep_of

    table = catalog.load_table(TABLE)
    if len(table.metadata.snapshots) < _MOST_SNAPSHOTS:
        return
    needed, updates = upkeep_of(catalog)(table, MAIN_BRANCH)
    if updates:
        try:
            catalog.commit_table(table, tuple(needed), tuple(updates))
        except CommitFailedException:
            return


@cache
def _columns() -> pa.Schema:
    import pyarrow as pa

    text, moment = pa.string(), pa.timestamp("us", "UTC")
    return pa.schema(
        {
            "record": text,
            "id": text,
            "rule": text,
            "table_name": text,
            "subject": text,
            "severity": text,
            "state": text,
            "message": text,
            "since": moment,
            "resolved_at": moment,
            "destination": text,
            "sent_at": moment,
            "error": text,
            "content": text,
        }
    )


def _rows(state: State) -> pa.Table:
    import pyarrow as pa

    records: list[tuple[str, Incident | Message | Silence]] = [
        *(("incident", each) for each in state.incidents.values()),
        *(("past", each) for each in state.past),
        *(("message", each) for each in state.messages.values()),
        *(("silence", each) for each in state.silences),
    ]
    return pa.Table.from_pylist([_row(record, each) for record, each in records], _columns())


def _row(record: str, thing: Incident | Message | Silence) -> dict[str, Any]:
    """Return a row: columns to look at, and ``content``, which is read again."""
    row = {name: getattr(thing, name, None) for name in _columns().names}
    row |= {"record": record, "table_name": thing.table, "content": _to_json(thing)}
    if isinstance(thing, Silence):
        row |= {"since": thing.created_at, "resolved_at": thing.until, "message": thing.reason, "state": "silence"}
    if isinstance(thing, Message):
        row |= {"since": thing.created_at, "message": thing.content.get("title")}
    return row


def _to_json(thing: Incident | Message | Silence) -> str:
    return json.dumps({VERSION_FIELD: VERSION, **asdict(thing)}, default=datetime.isoformat)


def _from_json(kind: type[Record], content: Mapping[str, Any]) -> Record:
    known = _readers(kind)  # type: ignore[arg-type]
    return kind(**{name: known[name](value) for name, value in content.items() if name in known})


@cache
def _readers(kind: type[Any]) -> dict[str, Callable[[Any], Any]]:
    """Return how the values of each field are read: what a later release has added is left out."""
    return {item.name: _reader(str(item.type)) for item in fields(kind)}


def _reader(annotation: str) -> Callable[[Any], Any]:
    name = annotation.removesuffix(" | None")
    read: Callable[[Any], Any] = _plain
    if name == "datetime":
        read = datetime.fromisoformat
    elif name == "RunRef":
        read = _run
    elif name.startswith("tuple"):
        read = tuple
    else:
        read = next((each for each in _ENUMS if each.__name__ == name), _plain)
    return lambda value: None if value is None else read(value)


def _plain(value: Any) -> Any:
    return value


def _run(value: Mapping[str, Any]) -> RunRef:
    return RunRef(**value)
