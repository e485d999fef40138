"""What was found out about SQL before, kept in ``PHLO_HOME``; all of it can be found out again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from airflow_provider_phlo.lineage.sql.relations import Column, Effect, How, Relation, Rest, Value

_FILE = "sql.json"
_WORD = re.compile(r"\w+")
#: The version of what is kept: changes with the analysis, and with the form.
VERSION = 3


@dataclass(frozen=True)
class Read:
    """
    What a query yields, and the tables that it reads.

    :param tables: their ids.
    """

    relation: Relation
    tables: tuple[str, ...]


class KeptAnalyses:
    """
    Analyses SQL, and remembers it for the next process.

    What is remembered holds as long as the SQL and what is known of the tables that it reads are the same.

    :param folder: where it is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _FILE if folder is not None else None
        self._before = _read(self._path)
        self._now: dict[str, Any] = {}
        self._signatures: dict[tuple[str, int, bool], str] = {}

    def analyse(
        self,
        sql: str,
        dialect: str,
        table: Callable[[Sequence[str]], str],
        relation: Callable[[str], Relation],
        elsewhere: frozenset[str] = frozenset(),
    ) -> Read:
        """
        Analyse one query.

        :param table: return the id of a table by the parts of its name.
        :param relation: return what a table is, by its id.
        :param elsewhere: as for :func:`~airflow_provider_phlo.lineage.sql.analysis.analyse_sql`.
        """
        key = blake2b(
            "\n".join([dialect, *sorted(elsewhere & _ctes(sql)), sql]).encode(errors="surrogatepass"), digest_size=16
        ).hexdigest()
        kept = self._before.get(key)
        if kept is None or not self._holds(kept, table, relation):
            kept = self._analysed(sql, dialect, table, relation, elsewhere)
        self._now[key] = kept
        tables = dict.fromkeys(table(json.loads(parts)) for parts in kept["read"])
        return Read(_relation(kept["relation"]), tuple(tables))

    def _analysed(
        self,
        sql: str,
        dialect: str,
        table: Callable[[Sequence[str]], str],
        relation: Callable[[str], Relation],
        elsewhere: frozenset[str],
    ) -> dict[str, Any]:
        from airflow_provider_phlo.lineage.sql.analysis import analyse_sql

        read: dict[str, str] = {}

        def tables(parts: Sequence[str]) -> Relation:
            found = relation(table(parts))
            read[json.dumps(list(parts))] = self._signature(table(parts), found)
            return found

        return {"relation": _plain(analyse_sql(sql, dialect, tables, elsewhere)), "read": read}

    def _holds(
        self, kept: Mapping[str, Any], table: Callable[[Sequence[str]], str], relation: Callable[[str], Relation]
    ) -> bool:
        named = ((table(json.loads(parts)), signature) for parts, signature in kept["read"].items())
        return all(self._signature(name, relation(name)) == signature for name, signature in named)

    def _signature(self, table: str, relation: Relation) -> str:
        """Return a hash of what is known of a table."""
        # what is known of a table only grows
        state = (table, len(relation.columns), bool(relation.rests))
        if state not in self._signatures:
            known = json.dumps([table, [column.name for column in relation.columns], bool(relation.rests)])
            self._signatures[state] = blake2b(known.encode(), digest_size=8).hexdigest()
        return self._signatures[state]

    def keep(self) -> None:
        """Write what was found out; what is not needed any more goes."""
        if self._path is not None and self._now != self._before:
            write_atomically(self._path, {"version": _version(), "queries": self._now})


def _ctes(sql: str) -> frozenset[str]:
    """Return the words of a query that may be names of ephemeral models."""
    return frozenset(word.lower() for word in _WORD.findall(sql))


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that nobody reads half of it; only the owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile("w", dir=path.parent, prefix=f"{path.name}.", delete=False) as part:
        json.dump(content, part, separators=(",", ":"))
    os.replace(part.name, path)


def _version() -> str:
    return f"{VERSION} {importlib.metadata.version('sqlglot')}"


def _read(path: Path | None) -> Mapping[str, Any]:
    try:
        kept = json.loads(path.read_bytes()) if path is not None else {}
        return kept["queries"] if kept.get("version") == _version() else {}
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return {}


def _plain(relation: Relation) -> dict[str, Any]:
    return {
        "columns": [[column.name, _plain_value(column.value)] for column in relation.columns],
        "rests": [[rest.table, _plain_value(rest.value), sorted(rest.hidden)] for rest in relation.rests],
        "effects": [[*origin, effect] for origin, effect in relation.effects.items()],
    }


def _plain_value(value: Value) -> list[Any]:
    return [[[*origin, how] for origin, how in value.origins.items()], value.unknown]


def _relation(kept: Mapping[str, Any]) -> Relation:
    return Relation(
        [Column(name, _value(value)) for name, value in kept["columns"]],
        tuple(Rest(table, _value(value), frozenset(hidden)) for table, value, hidden in kept["rests"]),
        {(node, column): Effect(effect) for node, column, effect in kept["effects"]},
    )


def _value(kept: Sequence[Any]) -> Value:
    origins, unknown = kept
    return Value({(node, column): How(how) for node, column, how in origins}, unknown)
