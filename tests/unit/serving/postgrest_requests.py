"""What PostgREST sends to PostgreSQL for a request: the role, the claims, and one statement."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg

from airflow_provider_phlo.serving.postgrest.login import give_login
from airflow_provider_phlo.sql import literal, quote_identifier

_OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "neq": "<>"}
# the name of a column or view, or one in quotes
_NAME = r'(?:"(?:[^"\\]|\\.)*"|[^",().*]+)'
_EMBEDDED = re.compile(rf"({_NAME})\(({_NAME}(?:,{_NAME})*|\*)\)")


class Api:
    """
    Asks as PostgREST does: logged in as ``authenticator``, which becomes the role of each request.

    :param connection: of the owner, who gives ``authenticator`` its password.
    :param folder: for the file with the password.
    """

    def __init__(self, connection: psycopg.Connection, folder: Path) -> None:
        self._owner = connection
        self._file = folder / "postgrest.env"
        self._session: psycopg.Connection | None = None

    def get(
        self, path: str, *, role: str = "api_user", claims: Mapping[str, Any] | None = None, schema: str = "api"
    ) -> list[dict[str, Any]]:
        """
        Return the rows of ``GET path``.

        :param claims: those of the token, beside its role.
        """
        with self.session.transaction(force_rollback=True):
            self.session.execute("SET TRANSACTION READ ONLY")
            self.session.execute(
                "SELECT set_config('search_path', %s, true), set_config('role', %s, true), "
                "set_config('request.jwt.claims', %s, true), set_config('request.method', 'GET', true), "
                "set_config('request.path', %s, true)",
                [quote_identifier(schema), role, json.dumps({"role": role, **(claims or {})}), path],
            )
            found = self.session.execute(select(path, schema)).fetchone()
            assert found is not None
            return list(found[1])

    @property
    def session(self) -> psycopg.Connection:
        """Return the session of ``authenticator``."""
        if self._session is None:
            give_login(self._owner, self._file)
            uri = self._file.read_text().strip().partition("=")[2]
            self._session = psycopg.connect(uri, autocommit=True)
        return self._session

    def close(self) -> None:
        """Log out."""
        if self._session is not None:
            self._session.close()


def select(path: str, schema: str = "api") -> str:
    """Return PostgREST's statement for a GET."""
    parts = urlsplit(path)
    view = f"{quote_identifier(schema)}.{quote_identifier(unquote(parts.path.lstrip('/')))}"
    columns, joins, conditions, tail = f"{view}.*", "", [], ""
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "select":
            columns, joins = _selection(value, view, schema)
        elif name == "order":
            tail += " ORDER BY " + ", ".join(_order(each, view) for each in _items(value))
        elif name in ("limit", "offset"):
            tail += f" {name.upper()} {int(value)}"
        else:
            conditions.append(_condition(f"{view}.{quote_identifier(plain(name))}", value))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        f"WITH pgrst_source AS (SELECT {columns} FROM {view}{joins}{where}{tail}) "
        "SELECT pg_catalog.count(_postgrest_t) AS page_total, coalesce(json_agg(_postgrest_t), '[]') AS body "
        "FROM (SELECT * FROM pgrst_source) _postgrest_t"
    )


def plain(name: str) -> str:
    """Return a name without the quotes that a request may have around it."""
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') else name


def _items(text: str) -> list[str]:
    return [found.group() for found in re.finditer(rf"(?:{_EMBEDDED.pattern}|{_NAME}|\*)(?:\.\w+)*", text)]


def _selection(text: str, view: str, schema: str) -> tuple[str, str]:
    columns, joins = [], []
    for item in _items(text):
        embedded = _EMBEDDED.fullmatch(item)
        if embedded is None:
            columns.append(f"{view}.*" if item == "*" else f"{view}.{quote_identifier(plain(item))}")
            continue
        name, wanted = quote_identifier(plain(embedded[1])), embedded[2]
        inner = "*" if wanted == "*" else ", ".join(quote_identifier(plain(each)) for each in _items(wanted))
        alias = quote_identifier(f"of_{plain(embedded[1])}"[:60])
        columns.append(f"{alias}.rows AS {name}")
        joins.append(
            f" LEFT JOIN LATERAL (SELECT json_agg(found) AS rows FROM (SELECT {inner} "
            f"FROM {quote_identifier(schema)}.{name}({view.partition('.')[2]})) found) {alias} ON true"
        )
    return ", ".join(columns), "".join(joins)


def _order(item: str, view: str) -> str:
    name, _, direction = item.rpartition(".")
    if direction not in ("asc", "desc"):
        name, direction = item, "asc"
    return f"{view}.{quote_identifier(plain(name))} {direction.upper()}"


def _condition(column: str, value: str) -> str:
    operator, _, operand = value.partition(".")
    if value == "not.is.null":
        return f"{column} IS NOT NULL"
    return f"{column} {_OPERATORS[operator]} {literal(operand)}"
