"""Load batches of public events into DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from airflow_provider_phlo.events.paths import published_folder
from airflow_provider_phlo.events.published import publish, require_own_folder
from airflow_provider_phlo.files.documents import BLANK, NotARowError, parsed, strict_document
from airflow_provider_phlo.files.loading import AfterLoad, load_files
from airflow_provider_phlo.files.results import LoadResult
from airflow_provider_phlo.files.staging import Target

_COLUMNS = (
    *("event_id", "event_type", "created_at", "ingested_at", "actor_id", "actor_login"),
    *("repo_id", "repo_name", "payload", "raw"),
)
_NESTED = ("actor", "repo", "org", "payload")
# floats up to here are all whole numbers, each its own
_EXACT = 2**53
# columns of the table → where an event has the same
_FLAT = {
    "event_id": ("id", ""),
    "event_type": ("type", ""),
    "actor_id": ("actor", "id"),
    "actor_login": ("actor", "login"),
    "repo_id": ("repo", "id"),
    "repo_name": ("repo", "name"),
}


def load_events(
    folder: Any,
    database: Path,
    *,
    verify: bool = False,
    wait_seconds: float = 60.0,
    after_load: AfterLoad | None = None,
) -> LoadResult:
    """
    Load what is new of the batches in ``folder``; see :func:`airflow_provider_phlo.files.loading.load_files`.

    :param folder: a ``Path`` or an ``ObjectStoragePath``.
    :param database: the DuckDB file.
    :param verify: hash every file, also those that have kept their size and time of change.
    :param wait_seconds: how long to wait for others who have the database open.
    :param after_load: called with the open connection when all is committed.
    """
    return load_files(folder, target(), database, verify=verify, wait_seconds=wait_seconds, after_load=after_load)


def load_and_publish(folder: Any, database: Path, *, verify: bool = False, wait_seconds: float = 60.0) -> LoadResult:
    """
    Load what is new as :func:`load_events` does, and publish it to readers.

    :param verify: also compare all that is published with what is loaded.
    :raises ConfigurationError: also where another database is published to the same folder.
    """
    folder_of_readers = published_folder(database)
    require_own_folder(folder_of_readers, database)

    def publish_loaded(connection: duckdb.DuckDBPyConnection) -> None:
        publish(connection, folder_of_readers, database=database.name, compare=verify)

    return load_events(folder, database, verify=verify, wait_seconds=wait_seconds, after_load=publish_loaded)


@cache
def target() -> Target:
    """Return the table ``events``, and how lines become its rows."""
    sql = resources.files("airflow_provider_phlo.events") / "sql"
    return Target(
        table="events",
        key="event_id",
        columns=_COLUMNS,
        schema=(sql / "schema.sql").read_text(),
        rows=(sql / "rows.sql").read_text(),
        judge=judge,
        to_document=document_of,
        keys=("id", "event_id", "raw"),
    )


def judge(document: Any) -> str | None:
    """Return why ``document`` is not an event, or None; what its values say, ``rows.sql`` judges."""
    if not isinstance(document, dict):
        return "is not a JSON object"
    if document.get("id") in (None, ""):
        return "has no id"
    if not _is_whole(document["id"]) and not isinstance(document["id"], str):
        return "id is neither text nor a whole number"
    for name in ("type", "created_at", "ingested_at"):
        if isinstance(document.get(name), dict | list):
            return f"{name} is not a single value"
    return _part(document, "actor", "login") or _part(document, "repo", "name")


def _part(document: dict[str, Any], name: str, text: str) -> str | None:
    """Return what is wrong with ``actor`` or ``repo``; it may be missing."""
    part = document.get(name)
    if part is None:
        return None
    if not isinstance(part, dict):
        return f"{name} is not an object"
    number = part.get("id")
    if number is not None and not _is_whole(number) and not (isinstance(number, str) and number.isdecimal()):
        return f"{name}.id is not a whole number"
    if isinstance(part.get(text), dict | list):
        return f"{name}.{text} is not a single value"
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def document_of(row: Mapping[str, Any]) -> Any:
    """
    Return the event that a row of a CSV or Parquet file is.

    :param row: with the columns of GitHub's events (nested ones as JSON text too), or those of the table ``events``; a
        column ``raw`` has all of it.
    :raises NotARowError: two columns say different things of one value, an id is of another type, or JSON is damaged.
    """
    if row.get("raw"):
        return _parsed("raw", row["raw"])
    given = {name: value for name, value in row.items() if value is not None}
    document = {name: _parsed(name, value) if name in _NESTED else value for name, value in given.items()}
    for name, (part, member) in _FLAT.items():
        value = document.pop(name, None)
        if value is None:
            continue
        holder, key = (document.setdefault(part, {}), member) if member else (document, part)
        if not isinstance(holder, dict):
            raise NotARowError(f"{part} is not an object")
        if str(_whole(holder.setdefault(key, value))) != str(_whole(value)):
            raise NotARowError(f"{name} and {part}{member and '.'}{member} are not the same")
    for holder in (document, document.get("actor"), document.get("repo")):
        if isinstance(holder, dict) and holder.get("id") is not None:
            holder["id"] = _identifier(holder["id"])
    return document


def _identifier(value: Any) -> Any:
    """Return an id as JSON has it; what is not one in JSON is not one here."""
    value = _whole(value)
    if not isinstance(value, str | int | float | dict | list):
        raise NotARowError("id is neither text nor a whole number")
    return value


def _whole(value: Any) -> Any:
    """Return the whole number that a column of fractions holds, where it holds it exactly."""
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == int(value) else float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _parsed(name: str, value: Any) -> Any:
    """
    Return what a text says that begins as an object, a list or a text of JSON does, else the value itself.

    :raises NotARowError: it is cut off or damaged: as a text it would be another value.
    """
    text = value.strip(BLANK) if isinstance(value, str) else ""
    if text[:1] not in ("{", "[", '"'):
        return value
    try:
        return parsed(strict_document(text, ended=True))
    except NotARowError as error:
        raise NotARowError(f"{name} {error}") from None
