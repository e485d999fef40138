"""``phlo schema``: the columns of tables and models, and what differs between two of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal.environment import project_folder
from airflow_provider_phlo.cli.terminal.errors import FAILED, REFUSED, exit_on_error
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError

if TYPE_CHECKING:
    import argparse

    from pandera.pandas import DataFrameModel
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType, NestedField

    from airflow_provider_phlo.schemas.columns import ModelColumns
    from airflow_provider_phlo.schemas.project import KnownModel

_LIST = ["table", "columns", "model", "difference"]
_SHOW = [
    "column", "type", "pandera", "nullable", "unique", "range", "allowed", "rules", "warnings", "default", "pii",
    "description",
]  # fmt: skip
# texts longer than this may be cut in a printed table, and are repeated below it
_LONG = 40
_DIFF = ["column", "change", "old", "new", "breaks", "reason"]


def _exit_on_error(command: str) -> AbstractContextManager[None]:
    """End with 2 on every error: 1 is what ``diff`` says of a change that breaks somebody."""
    return exit_on_error(command, failed=REFUSED)


# --- list ---------------------------------------------------------------------------------------------------


def tables(args: argparse.Namespace) -> None:
    """Print the tables of the catalog with their models, and the models that belong to no table."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.schemas.project import known_models

    with _exit_on_error("schema list"):
        catalog, root = open_catalog(), project_folder()
        models, problems = known_models(root)
        names = [name for name in all_tables(catalog) if args.schema in (None, name.rpartition(".")[0])]
        rows: list[tuple[Any, ...]] = []
        for name in names:
            table = find_table(catalog, name)
            if table is not None:
                model = declared_model(name, models)
                difference = _difference(table, model, root, problems) if model else None
                columns = len(table.schema().fields)
                rows.append((name, columns, model.reference if model else None, difference))
        listed = {row[2] for row in rows}
        if args.schema is None:
            rows += [(None, None, model.reference, None) for model in models if model.reference not in listed]
    show(Result(_LIST, rows), args.output)
    for problem in problems:
        print(f"phlo schema list: {problem}", file=sys.stderr)


def declared_model(table: str, models: list[KnownModel]) -> KnownModel | None:
    """Return the model that a DAG file declares for the table, else the dbt model with its name."""
    from airflow_provider_phlo.naming import qualified_table

    declared = (model for model in models if model.table and qualified_table(model.table) == table)
    of_dbt = (model for model in models if model.reference.endswith(f"ml:{table.partition('.')[2]}"))
    return next(declared, None) or next(of_dbt, None)


def _difference(table: Table, model: KnownModel, root: Path, problems: list[str]) -> str | None:
    from airflow_provider_phlo.schemas.diff import schema_diff
    from airflow_provider_phlo.schemas.project import load_reference

    try:
        changes = schema_diff(table, load_reference(model.reference, root))
    except PhloError as error:
        problems.append(str(error))
        return None
    if not changes:
        return "same"
    # a table may allow or have more than its model declares: what counts is whether it takes the model's rows
    return "breaking" if any(change.breaks == "table" for change in changes) else "compatible"


# --- show ---------------------------------------------------------------------------------------------------


def columns(args: argparse.Namespace) -> None:
    """Print the columns of a table or model; for people, also the rules about whole rows."""
    with _exit_on_error("schema show"):
        table, model = _described(args.schema, with_model=True)
        rows = list(_column_rows(table, model))
        notes = list(_notes(args.schema, model)) if model is not None else []
    result = Result(_SHOW, rows)
    show(_without_empty(result) if args.output == "table" else result, args.output)
    if args.output == "table" and notes:
        print("\n" + "\n".join(notes))


def _described(reference: str, *, with_model: bool = False) -> tuple[Table | None, type[DataFrameModel] | None]:
    """Return the table or the model that ``reference`` names, and the table's model if it is asked for."""
    from airflow_provider_phlo.iceberg.branches.history import load
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.naming import qualified_table
    from airflow_provider_phlo.schemas.project import known_models, load_reference

    root = project_folder()
    if ":" in reference:
        return None, load_reference(reference, root)
    name, catalog = qualified_table(reference), open_catalog()
    if find_table(catalog, name) is None:
        model = named_model(reference, known_models(root)[0])
        if model is not None:
            return None, load_reference(model.reference, root)
    table = load(catalog, name)
    found = declared_model(name, known_models(root)[0]) if with_model else None
    return table, load_reference(found.reference, root) if found else None


def named_model(name: str, models: list[KnownModel]) -> KnownModel | None:
    """Return the one model with this name: as a class or a dbt model is written (FactOrders, fct_orders)."""
    found = [model for model in models if model.name == name] or [
        model for model in models if _folded(model.name) == _folded(name)
    ]
    if len(found) > 1:
        raise ConfigurationError(f"{name} may be {' or '.join(model.reference for model in found)}: name one of them.")
    return found[0] if found else None


def _folded(name: str) -> str:
    folded = name.replace("_", "").casefold()
    for long, short in (("fact", "fct"), ("mart", "mrt"), ("staging", "stg")):
        if folded.startswith(long):
            return short + folded.removeprefix(long)
    return folded


def _column_rows(table: Table | None, model: type[DataFrameModel] | None) -> Iterator[tuple[Any, ...]]:
    from airflow_provider_phlo.schemas.columns import model_columns
    from airflow_provider_phlo.schemas.iceberg import pandera_to_iceberg

    declared = model_columns(model) if model is not None else None
    if table is not None:
        fields = table.schema().fields
    else:
        assert model is not None
        fields = pandera_to_iceberg(model, metadata_columns=False).fields
    for item in fields:
        rules = _rules(declared, item.name)
        yield (
            item.name,
            *_types(item.field_type),
            not item.required,
            *rules[:-1],
            item.doc or rules[-1],
        )
        for path, kind, required, doc in _members(item.name, item.field_type):
            yield (path, *_types(kind), not required, *[None] * 7, doc)


def _types(kind: IcebergType) -> tuple[str, str | None]:
    """Return the Iceberg type, and what an author writes for it in a model."""
    from airflow_provider_phlo.exceptions import SchemaError
    from airflow_provider_phlo.schemas.columns import spelling
    from airflow_provider_phlo.schemas.types import arrow_type, without_ids

    try:
        return without_ids(kind), spelling(arrow_type(kind))
    except SchemaError:
        return without_ids(kind), None


def _rules(declared: ModelColumns | None, name: str) -> tuple[Any, ...]:
    """Return what a model declares for a column: unique, range, allowed, rules, warnings, default, pii, description."""
    from airflow_provider_phlo.schemas.constraints import constraints, words

    if declared is None or name not in declared:
        return (None,) * 8
    column = declared[name]
    found = constraints(declared.schema.columns[name].checks)
    return (
        column.unique,
        found.range(),
        words(found.allowed),
        found.rules or None,
        found.warnings or None,
        column.default,
        column.pii or None,
        column.description,
    )


def _members(path: str, kind: IcebergType) -> Iterator[tuple[str, IcebergType, bool, str | None]]:
    """Yield the members of a nested type, with their paths."""
    from pyiceberg.types import ListType, MapType, StructType

    inside: tuple[NestedField, ...] = ()
    if isinstance(kind, StructType):
        inside = kind.fields
    elif isinstance(kind, ListType):
        inside = (kind.element_field,)
    elif isinstance(kind, MapType):
        inside = (kind.key_field, kind.value_field)
    for item in inside:
        below = f"{path}.{item.name}"
        yield below, item.field_type, item.required, item.doc
        yield from _members(below, item.field_type)


def _without_empty(result: Result) -> Result:
    """Leave out the columns that are empty in every row."""
    kept = [
        at for at, _ in enumerate(result.columns) if at < 4 or any(row[at] not in (None, False) for row in result.rows)
    ]
    return Result([result.columns[at] for at in kept], [tuple(row[at] for at in kept) for row in result.rows])


def _notes(reference: str, model: type[DataFrameModel]) -> Iterator[str]:
    """Yield what a model declares beyond its columns."""
    from airflow_provider_phlo.schemas.columns import model_columns
    from airflow_provider_phlo.schemas.constraints import constraints
    from airflow_provider_phlo.schemas.dbt_yaml import skipped_tests

    declared = model_columns(model)
    if ":" not in reference:
        yield f"Rules of the model {model.__name__}."
    yield from _long_texts(declared)
    for together in declared.unique_together:
        yield f"Unique together: {', '.join(together)}."
    whole = constraints(declared.schema.checks)
    if whole.rules or whole.warnings:
        yield f"Rules about whole rows: {', '.join([*whole.rules, *(f'{rule} (warns)' for rule in whole.warnings)])}."
    yield {
        True: "A value in an undeclared column makes a row bad (strict).",
        "filter": "Undeclared columns are dropped.",
        False: "Undeclared columns are kept.",
    }[declared.strict]
    for skipped in skipped_tests(model):
        yield f"Not turned into a constraint: {skipped}."


def _long_texts(declared: ModelColumns) -> Iterator[str]:
    from airflow_provider_phlo.schemas.constraints import constraints, words

    for column in declared.columns:
        found = constraints(declared.schema.columns[column.name].checks)
        texts = [("allows", ", ".join(words(found.allowed) or ()))]
        texts += [("rule", rule) for rule in (*found.rules, *found.warnings)]
        yield from (f"{column.name} {label}: {text}" for label, text in texts if len(text) > _LONG)


# --- diff ---------------------------------------------------------------------------------------------------


def differences(args: argparse.Namespace) -> None:
    """Print what differs; end with 1 if any difference breaks somebody."""
    from airflow_provider_phlo.schemas.diff import schema_diff

    with _exit_on_error("schema diff"):
        old, new = (_either(reference) for reference in (args.old, args.new))
        changes = schema_diff(old, new)
    rows = [
        (change.name or None, change.kind, change.old, change.new, change.breaks, change.reason) for change in changes
    ]
    show(Result(_DIFF, rows), args.output)
    broken = sorted({str(change.breaks) for change in changes if change.breaks})
    if args.output == "table":
        print(f"Breaking: for {', '.join(broken)}." if broken else "Compatible." if changes else "No difference.")
    if broken:
        raise SystemExit(FAILED)


def _either(reference: str) -> Any:
    table, model = _described(reference)
    return table if table is not None else model
