"""Readings of pull requests become rows of the tables that are loaded: normalised, with keys, durations and sizes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

_SQL = Path(__file__).parent / "sql"
#: the tables that are made of readings; each has a statement of its name
ENTITIES = ("pull_requests", "reviews", "files")


def transform(readings: pa.Table) -> dict[str, pa.Table]:
    """
    Return the rows of each of :data:`ENTITIES` that ``readings`` hold, in their order.

    Nothing is dropped: one row per reading, per review and per file, also where the same pull request was read twice.
    What is unknown stays NULL.

    :param readings: with the columns of :class:`~.models.PullRequestReading`; others are ignored.
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(_statement("macros"))
        connection.register("readings", readings)
        keys = connection.sql(_statement("pull_request_keys")).to_arrow_table()
        connection.register("readings", readings.append_column("pull_request_key", keys[0]))
        return {entity: connection.sql(_statement(entity)).to_arrow_table() for entity in ENTITIES}


def row_key(entity: str, repository_id: int, number: int | str = "", part: str = "") -> str:
    """
    Return the key of a row: SHA-256, in hexadecimal digits, of its identity, the parts separated by U+001F.

    The repository's id stands for organisation and name: it stays through renames and transfers, they do not.

    :param entity: ``repository``, ``pull_request``, ``review`` or ``file``.
    :param number: of the pull request.
    :param part: of the pull request: a review's id, a file's name (and its occurrence above 1).
    """
    return hashlib.sha256("\x1f".join((entity, str(repository_id), str(number), part)).encode()).hexdigest()


@cache
def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text()
