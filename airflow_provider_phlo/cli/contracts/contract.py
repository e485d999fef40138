"""``phlo contract``: what tables promise to their readers, and whether they keep it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.contracts.junit import Case, document
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.environment import project_folder
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show, write_lines
from airflow_provider_phlo.contract_files import FOLDER
from airflow_provider_phlo.contracts import Breach, Contract, find_contracts, read_contract, validate
from airflow_provider_phlo.contracts.changes import compare, problem_of_version
from airflow_provider_phlo.contracts.enforcement import refused_rules
from airflow_provider_phlo.contracts.forms.reading import contracts_at
from airflow_provider_phlo.contracts.model.contract import Column, Promise
from airflow_provider_phlo.contracts.model.types import LISTS
from airflow_provider_phlo.contracts.rules.validation import ownership
from airflow_provider_phlo.contracts.tables import table_name
from airflow_provider_phlo.contracts.versions import Step
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.suggestions import did_you_mean

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema

_LIST = ["contract", "version", "status", "owner", "tables", "consumers", "file"]
_SHOW = ["column", "type", "required", "unique", "values", "allowed", "rules", "pii", "description"]
_DIFF = ["contract", "table", "column", "what", "old", "new", "breaks"]
_VALIDATE = ["contract", "table", "column", "breaks", "problem", "where"]


def contracts(args: argparse.Namespace) -> None:
    """Print the contracts of the project."""
    found, problems = project_contracts()
    rows = [
        (
            contract.name,
            contract.version,
            contract.status,
            contract.owner or None,
            ", ".join(promise.table for promise in contract.promises),
            ", ".join(consumer.name for consumer in contract.consumers) or None,
            str(contract.source),
        )
        for contract in found
    ]
    show(Result(_LIST, rows), args.output)
    end_with("contract list", problems)


def contract(args: argparse.Namespace) -> None:
    """Print what one contract promises."""
    (found,) = chosen_contracts([args.contract])
    for number, promise in enumerate(found.promises):
        if args.output == "table":
            print(f"{chr(10) if number else ''}{found.name} {found.version}: {promise.table}")
        show(Result(_SHOW, list(_column_rows(promise.columns, args.output))), args.output)
    if args.output == "table":
        print("\n".join(_notes(found)))


def validations(args: argparse.Namespace) -> None:
    """Compare contracts with their tables; the exit code is 1 if a promise is broken."""
    chosen, problems = (chosen_contracts(args.contracts), list[str]()) if args.contracts else project_contracts()
    if not chosen and not problems:
        raise ConfigurationError(f"There is no contract in {FOLDER}: docs/contracts.md shows what one says.")
    catalog = open_catalog()
    rows: list[tuple[Any, ...]] = []
    broken = []
    for each in chosen:
        breaches = list(_breaches(each, catalog))
        rows += [
            (each.name, breach.table, breach.column or None, breach.blocking, breach.problem, each.where(breach.line))
            for breach in breaches
        ]
        if any(breach.blocking for breach in breaches):
            broken.append(is_broken(each))
    if args.output == "junit":
        write_lines([document(_validation_cases(rows, chosen), [each.name for each in chosen])])
    elif args.output == "table" and not rows and chosen:
        print(f"{words.plural(len(chosen), 'contract')}: every table is as promised.")
    else:
        show(Result(_VALIDATE, rows), args.output)
    end_with("contract validate", [*broken, *problems])


def differences(args: argparse.Namespace) -> None:
    """Compare two versions of contracts; the exit code is 1 if a version does not say how much has changed."""
    pairs = _pairs(args)
    rows: list[tuple[Any, ...]] = []
    problems: dict[str, str] = {}
    for old, new in pairs:
        name = (new or old).name  # type: ignore[union-attr]
        if old is None or new is None:
            gone = new is None
            rows.append((name, None, None, "contract", name if gone else None, None if gone else name, gone))
            if old is not None and old.consumers:
                problems[name] = f"{name} is gone, and {consumers_of(old)} rely on it."
            continue
        changes = compare(old, new)
        rows += [
            (name, each.table or None, each.column or None, each.what, each.old, each.new, each.step is Step.MAJOR)
            for each in changes
        ]
        problem = problem_of_version(old, new, changes)
        if problem:
            broken = any(change.step is Step.MAJOR for change in changes)
            relied = f" {consumers_of(old)} rely on it." if broken and old.consumers else ""
            problems[name] = f"{name}: {problem}.{relied}"
    if args.output == "junit":
        names = [(new or old).name for old, new in pairs]  # type: ignore[union-attr]
        write_lines([document(Case(name, "version", problem=problems.get(name, "")) for name in names)])
    else:
        show(Result(_DIFF, rows), args.output)
    end_with("contract diff", list(problems.values()))


def _validation_cases(rows: Sequence[tuple[Any, ...]], chosen: Sequence[Contract]) -> Iterator[Case]:
    """Yield a verdict for every breach, and one for a contract without any."""
    relied = {each.name: f" Relied on by {consumers_of(each)}." if each.consumers else "" for each in chosen}
    for name, table, column, blocking, problem, where in rows:
        about = f"{table}: {column}" if column else table
        yield Case(name, about, problem=f"{problem}.{relied[name]}", warning=not blocking, where=where)
    broken = {row[0] for row in rows}
    yield from (Case(each.name, "every table is as promised") for each in chosen if each.name not in broken)


def is_broken(contract: Contract) -> str:
    """Return that a contract is broken, and for whom."""
    relied = f": it is relied on by {consumers_of(contract)}" if contract.consumers else ""
    return f"{contract.name} is broken{relied}."


def consumers_of(contract: Contract) -> str:
    """Return who relies on a contract, for messages."""
    return ", ".join(consumer.name for consumer in contract.consumers)


def _pairs(args: argparse.Namespace) -> list[tuple[Contract | None, Contract | None]]:
    """Return old and new contracts beside each other; None where there was not one, or is not any more."""
    if args.git is None:
        if len(args.files) != 2:
            raise ConfigurationError("Name the old file and the new one, or a revision with --git.")
        old, new = (read_contract(Path(file)) for file in args.files)
        return [(old, new)]
    if args.files:
        raise ConfigurationError("--git compares all contracts: name no files with it.")
    found, problems = project_contracts()
    if problems:
        raise ConfigurationError("\n".join(problems))
    were = {each.name: each for each in _contracts_before(args.git)}
    now = {each.name: each for each in found}
    return [(were.get(name), now.get(name)) for name in dict.fromkeys((*were, *now))]


def _contracts_before(revision: str) -> Iterator[Contract]:
    """Yield the contracts of a revision. A file that is wrong there promised nothing: it must not keep out its cure."""
    with contracts_at(project_folder(), revision) as (folder, files):
        for path in files:
            try:
                yield read_contract(path)
            except ConfigurationError as error:
                place = f"{path.relative_to(folder)} at {revision}"
                found = str(error).replace(str(path), place)
                print(f"phlo contract diff: compared with nothing: {found}", file=sys.stderr)


def _breaches(contract: Contract, catalog: Catalog) -> Iterator[Breach]:
    yield from ownership(contract)
    yield from refused_rules(contract)
    for promise in contract.promises:
        found = _described(promise, catalog)
        if found is None:
            problem = "there is no such table, and no DAG file declares a model for it"
            yield Breach(promise.table, "", problem, promise.line)
        else:
            yield from validate(promise, *found)


def _described(promise: Promise, catalog: Catalog) -> tuple[Schema, PartitionSpec | None] | None:
    """Return the schema of the table and its partitioning, else that of the model that it will be made from."""
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.cli.lake.schema import declared_model
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.schemas.iceberg import pandera_to_iceberg
    from airflow_provider_phlo.schemas.project import known_models, load_reference

    name = table_name(promise, catalog, settings.default_namespace())
    table = find_table(catalog, name)
    if table is not None:
        return table.schema(), table.spec()
    root = project_folder()
    model = declared_model(name, known_models(root)[0])
    return (pandera_to_iceberg(load_reference(model.reference, root)), None) if model else None


def project_contracts() -> tuple[list[Contract], list[str]]:
    """Return the contracts of the project, and what is wrong with the files that cannot be read."""
    found, problems = [], []
    for path in find_contracts(project_folder() / FOLDER):
        try:
            found.append(read_contract(path))
        except PhloError as error:
            problems.append(str(error))
    names = [each.name for each in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        files = ", ".join(str(each.source) for each in found if each.name == name)
        problems.append(f"Several contracts are called {name}: {files}. Rename all but one.")
    return found, problems


def chosen_contracts(names: Sequence[str]) -> list[Contract]:
    """
    Return the contracts that names or files stand for.

    :raises ConfigurationError: there is none of a name, or what is wrong with a file might be with the one meant.
    """
    known: list[Contract] | None = None
    problems: list[str] = []
    found = []
    for name in names:
        if Path(name).suffix in (".yaml", ".yml"):
            found.append(read_contract(Path(name)))
            continue
        if known is None:
            known, problems = project_contracts()
        matching = [each for each in known if each.name == name]
        if problems and len(matching) != 1:
            raise ConfigurationError("\n".join(problems))
        if not matching:
            hint = did_you_mean(name, [each.name for each in known])
            raise ConfigurationError(f"There is no contract {name} in {FOLDER}.{hint} phlo contract list lists them.")
        found += matching
    return found


def end_with(command: str, problems: Sequence[str]) -> None:
    """End the process if there are problems."""
    if problems:
        exit_with(command, "\n".join(problems), FAILED)


def _column_rows(columns: Sequence[Column], output: str, above: str = "") -> Iterator[tuple[Any, ...]]:
    for column in columns:
        unit = " items" if column.type and column.type.kinds == LISTS else " characters"
        values = ", ".join(filter(None, (column.values.words(), column.lengths.words(unit))))
        rules = [*_patterns(column), *(rule.name for rule in column.rules)]
        kind = column.type.text if column.type else None
        allowed = list(column.allowed) if column.allowed is not None else None
        people = output == "table"
        yield (
            above + column.name,
            kind,
            column.required,
            column.unique,
            values or None,
            ", ".join(map(str, allowed)) if people and allowed else allowed,
            ", ".join(rules) or None if people else rules,
            column.pii,
            column.description or None,
        )
        yield from _column_rows(column.members, output, f"{above}{column.name}.")
        yield from _column_rows(tuple(filter(None, (column.items,))), output, f"{above}{column.name}")


def _patterns(column: Column) -> Iterator[str]:
    if column.pattern:
        yield f"matches {column.pattern}"
    if column.distinct_items:
        yield "no item twice"


def _in_words(name: str) -> str:
    """Return ``End of life`` for ``endOfLife``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _notes(contract: Contract) -> Iterator[str]:
    yield f"Owner: {contract.owner or 'nobody'}"
    for level in contract.service_levels:
        yield f"{_in_words(level.property)}: {level.value} {level.unit}".rstrip()
    for consumer in contract.consumers:
        yield f"Relied on by {consumer.name}{f': {consumer.usage}' if consumer.usage else ''}"
    for each in contract.unjudged:
        yield f"Not judged: {each}"
    if contract.in_file:
        yield f"Only in the file: {', '.join(contract.in_file)}"
