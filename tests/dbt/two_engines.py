"""A history of a dbt project, run by dbt-duckdb into a file and by the adapter into a catalog: where the two differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from duckdb.sqltypes import DuckDBPyType

from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager
from airflow_provider_phlo.sql import quote_identifier
from tests.dbt.own_project import write_project
from tests.dbt.random_projects import History, Model, Step
from tests.lake import open_lake, open_views

_PROFILES = """
shop:
  outputs:
    plain: {{type: duckdb, path: '{folder}/plain.duckdb', schema: main, settings: {{TimeZone: UTC}}}}
    ours: {{type: phlo, schema: main}}
"""
_QUIET = ("--log-level=none", "--no-write-json", "--no-send-anonymous-usage-stats")
# as docs/dbt.md has them
_STORED_TYPES = {
    **dict.fromkeys(("tinyint", "smallint", "utinyint", "usmallint"), "INTEGER"),
    **dict.fromkeys(("uinteger", "ubigint"), "BIGINT"),
    "hugeint": "DECIMAL(38,0)",
    **dict.fromkeys(("enum", "uuid"), "VARCHAR"),
    **dict.fromkeys(("timestamp_s", "timestamp_ms", "timestamp_ns"), "TIMESTAMP"),
}
_REFUSED = re.compile(
    r"which Iceberg does not know|that do not fit|more than 38 digits|share their unique_key|Iceberg widens int to long"
    r"|is not partitioned as partition_by|which merge_(?:update|exclude)_columns names"
)
# names with quotes, text as bytes, new columns of a merge that ignores them, lists in place of arrays, a key as a text
_PLAINS_OWN = re.compile(
    r"unterminated quoted|Parser Error: syntax error|does not have a column (?:with name|named)"
    r"|Cannot cast list with length|STRING -> BLOB|INCREMENTAL_TARGET. not found"
)
# failures that a test has stored
_STORED_FAILURES = "dbt_test__audit"

Columns = list[tuple[str, str]]
Rows = Counter[tuple[Any, ...]]


def stored_type(kind: DuckDBPyType) -> str:
    """Return the type that a column of DuckDB's gets in the catalog."""
    if kind.id in ("list", "array"):
        return f"{stored_type(kind.children[0][1])}[]"
    if kind.id == "struct":
        members = ", ".join(f"{quote_identifier(name)} {stored_type(each)}" for name, each in kind.children)
        return f"STRUCT({members})"
    if kind.id == "map":
        key, value = (stored_type(each) for _, each in kind.children)
        return f"MAP({key}, {value})"
    return "VARCHAR" if str(kind) == "JSON" else _STORED_TYPES.get(kind.id, str(kind))


@dataclass(frozen=True)
class Difference:
    """Something that is not alike after a step."""

    step: int
    what: str
    plain: object
    ours: object
    note: str

    def __str__(self) -> str:
        return f"step {self.step}, {self.what} ({self.note})\n  plain: {self.plain}\n  ours:  {self.ours}"


@dataclass(frozen=True)
class Relation:
    """What a table or view holds, in the catalog's types."""

    columns: Columns
    rows: Rows

    def without_order(self) -> Relation:
        """Return it with its columns sorted by name."""
        return self._of(sorted(range(len(self.columns)), key=lambda place: self.columns[place]))

    def without_values(self, names: set[str]) -> Relation:
        """Return it with nothing but whether there is one of the values of some columns."""
        kept = [name not in names for name, _ in self.columns]
        rows: Rows = Counter()
        for row, count in self.rows.items():
            rows[tuple(each if keep else each is None for each, keep in zip(row, kept, strict=True))] += count
        return Relation(self.columns, rows)

    def _of(self, places: list[int]) -> Relation:
        rows: Rows = Counter()
        for row, count in self.rows.items():
            rows[tuple(row[place] for place in places)] += count
        return Relation([self.columns[place] for place in places], rows)


@dataclass
class Outcome:
    """What a run of dbt has said and left; names of relations are in lower case."""

    statuses: dict[str, tuple[str, int | None]]
    messages: dict[str, str]
    exception: str
    relations: dict[str, Relation] = field(default_factory=dict)


def differences(folder: Path, history: History) -> Iterator[Difference]:
    """
    Run a history on both sides; ``PHLO_HOME`` is ``folder / "home"``.

    A node that differs, or whose types the catalog refuses, is not looked at again, nor is what reads it.
    """
    (folder / "home").mkdir()
    (folder / "profiles.yml").write_text(_PROFILES.format(folder=folder))
    comparison = _Comparison(history)
    for at, step in enumerate(history.steps()):
        project = write_project(folder / "project", step.files)
        yield from comparison.of(at, _plain(project, step), _ours(project, step))


class _Comparison:
    def __init__(self, history: History) -> None:
        self.models = history.models
        self._left: set[str] = set()
        # what the catalog had a step before
        self._had: set[str] = set()

    def of(self, step: int, plain: Outcome, ours: Outcome) -> Iterator[Difference]:
        if bool(plain.exception) != bool(ours.exception):
            yield Difference(step, "the run", plain.exception, ours.exception, "")
        for unique_id in sorted(plain.statuses.keys() | ours.statuses.keys()):
            model = self._model_of(unique_id)
            if plain.statuses.get(unique_id) == ours.statuses.get(unique_id) or self._is_left(model):
                continue
            self._leave(model)
            said = [
                (side.statuses.get(unique_id, ("", None)), side.messages.get(unique_id, "")) for side in (plain, ours)
            ]
            if not _is_known(said[0], said[1]):
                yield Difference(step, unique_id, said[0], said[1], model.note if model else "")
        failed = {name.split(".")[2] for name, (status, _) in plain.statuses.items() if status == "error"}
        for name in sorted(plain.relations.keys() | ours.relations.keys()):
            model = self._model_of(name)
            if not (self._is_left(model) or self._is_stale(name, model, plain, failed)):
                found = _compared(step, name, plain.relations.get(name), ours.relations.get(name), model)
                if found is not None:
                    self._leave(model)
                    yield found
        self._had = set(ours.relations)

    def _model_of(self, name: str) -> Model | None:
        """Return the node that is called so, or that a test or its table is called after."""
        by_relation = [each for each in self.models if each.relation.lower() == name]
        return next(iter(by_relation), None) or next(
            (each for each in self.models if re.search(rf"(?<![a-z0-9]){each.name}(?![0-9])", name)), None
        )

    def _is_left(self, model: Model | None) -> bool:
        return model is not None and model.name in self._left

    def _leave(self, model: Model | None) -> None:
        if model is not None and model.name not in self._left:
            self._left.add(model.name)
            for each in self.models:
                if model.name in each.reads:
                    self._leave(each)

    def _is_stale(self, name: str, model: Model | None, plain: Outcome, failed: set[str]) -> bool:
        """Return whether a relation is not of this step: a view that was not run, or one that dbt failed to replace."""
        if "__dbt_tmp" in name or (name not in plain.relations and name in self._had):
            return True
        if _STORED_FAILURES in name:
            return name.rpartition(".")[2] in failed
        return (
            model is not None and model.is_view and plain.statuses.get(f"model.shop.{model.name}") != ("success", None)
        )


def _is_known(plain: tuple[Any, str], ours: tuple[Any, str]) -> bool:
    """Return whether only one side has failed, for a reason that is known."""
    if ours[0][0] == "error":
        return _REFUSED.search(ours[1]) is not None
    return plain[0][0] == "error" and _PLAINS_OWN.search(plain[1]) is not None


def _compared(
    step: int, name: str, plain: Relation | None, ours: Relation | None, model: Model | None
) -> Difference | None:
    note = model.note if model else ""
    if plain is None or ours is None:
        return Difference(step, name, plain is not None, ours is not None, note)
    if "incremental" in note:  # a column whose type changes is the last one in dbt-duckdb
        plain, ours = plain.without_order(), ours.without_order()
    if plain.columns != ours.columns:
        return Difference(step, name, plain.columns, ours.columns, note)
    if _STORED_FAILURES in name:  # which ones a limit leaves is anybody's guess
        same = plain.rows.total() == ours.rows.total()
    else:
        clocks = set(model.clocks) if model else set()
        plain, ours = plain.without_values(clocks), ours.without_values(clocks)
        same = plain.rows == ours.rows
    return None if same else Difference(step, name, plain.rows - ours.rows, ours.rows - plain.rows, note)


def _plain(project: Path, step: Step) -> Outcome:
    found, file = _run(project, step, "plain"), project.parent / "plain.duckdb"
    if file.exists():
        with duckdb.connect(str(file), read_only=True) as connection:
            found.relations = dict(_relations(connection))
    return found


def _ours(project: Path, step: Step) -> Outcome:
    found = _run(project, step, "ours")
    with open_views(open_lake(project.parent / "home")) as connection:
        found.relations = dict(_relations(connection))
    return found


def _run(project: Path, step: Step, target: str) -> Outcome:
    folder = project.parent / target
    places = [f"--project-dir={project}", f"--profiles-dir={project.parent}", f"--target-path={folder}"]
    _close()
    done = dbtRunner().invoke(
        ["build", *step.arguments, f"--target={target}", *places, f"--log-path={folder}", *_QUIET]
    )
    _close()
    results = getattr(done.result, "results", None) or []
    return Outcome(
        {
            each.node.unique_id: (str(each.status), each.failures if each.node.resource_type == "test" else None)
            for each in results
        },
        {each.node.unique_id: str(each.message) for each in results},
        str(done.exception or ""),
    )


def _close() -> None:
    for manager in (PhloConnectionManager, DuckDBConnectionManager):
        manager.close_all_connections()


def _relations(connection: Any) -> Iterator[tuple[str, Relation]]:
    connection.execute("SET TimeZone = 'UTC'")
    names = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal "
        "UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    for schema, name in names:
        relation = f"{quote_identifier(schema)}.{quote_identifier(name)}"
        try:
            found = connection.sql(f"SELECT * FROM {relation} LIMIT 0")
        except duckdb.Error:  # a view of what has other columns now
            continue
        columns = list(zip(found.columns, map(stored_type, found.types), strict=True))
        items = ", ".join(f"CAST(CAST({quote_identifier(each)} AS {kind}) AS VARCHAR)" for each, kind in columns)
        rows = connection.execute(f"SELECT {items} FROM {relation}").fetchall()
        yield f"{schema}.{name}".lower(), Relation(columns, Counter(rows))
