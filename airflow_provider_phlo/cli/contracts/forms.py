"""``phlo contract init|export|import``: contracts from what there is, and in other forms."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.contracts.contract import chosen_contracts, project_contracts
from airflow_provider_phlo.cli.lake.schema import declared_model, named_model
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.environment import project_folder
from airflow_provider_phlo.cli.terminal.output import open_catalog, write_lines
from airflow_provider_phlo.contract_files import FOLDER
from airflow_provider_phlo.contracts import Contract
from airflow_provider_phlo.contracts.conversion import Target, write_contract
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_phlo.schemas.project import KnownModel

# what no file system wants in a name; the rest may stand in the name of a table
_NOT_OF_FILES = re.compile(r"[^\w.$@ -]+")
_DBT = (".yml", ".yaml")


def new(args: argparse.Namespace) -> None:
    """Write a contract of a table: a draft of what it, or the model that a DAG file declares for it, says now."""
    contract, left_out = _of_table_or_model(args.table)
    contract = replace(contract, owner=args.owner or contract.owner, name=args.name or contract.name)
    taken = [each for each in project_contracts()[0] if each.name == contract.name]
    if taken:
        raise ConfigurationError(
            f"{taken[0].source} is a contract {contract.name} already: give another --name, "
            f"such as {contract.promises[0].table.replace('.', '_')}."
        )
    written = write_contract(contract, Target(args.format))
    path = project_folder() / FOLDER / f"{_NOT_OF_FILES.sub('_', contract.name)}.yaml"
    if path.exists():
        raise ConfigurationError(f"{path} is there already, and is not overwritten: give another --name.")
    _create(path, written.text)
    _say("init", args.format, (*left_out, *written.left_out))
    print(f"{path}: {words.plural(len(contract.promises[0].columns), 'column')} of {contract.promises[0].table}.")
    if not contract.owner:
        print("Nobody owns it yet: write owner into it.")
    print(f"Take out what readers may not rely on, add sla and consumers; then: phlo contract validate {contract.name}")


def exported(args: argparse.Namespace) -> None:
    """Print a contract in another form, and say what that form has no words for."""
    (contract,) = chosen_contracts([args.contract])
    written = write_contract(contract, Target(args.format))
    _put(args.file, written.text)
    _say("export", args.format, written.left_out)


def imported(args: argparse.Namespace) -> None:
    """Print the contract of a table, a model, or a contract in the other form."""
    contract, left_out = _SOURCES[args.source_form](args.source)
    contract = replace(contract, owner=args.owner or contract.owner, name=args.name or contract.name)
    written = write_contract(contract, Target(args.format))
    _put(args.file, written.text)
    _say("import", args.format, (*left_out, *written.left_out))


def _of_table_or_model(name: str) -> tuple[Contract, Sequence[str]]:
    """Return the contract of the model that is declared for a table, which says more; else the table's."""
    from airflow_provider_phlo.contracts.conversion.pandera import read_model
    from airflow_provider_phlo.naming import qualified_table
    from airflow_provider_phlo.schemas.project import known_models, load_reference

    root, table = project_folder(), qualified_table(name)
    model = declared_model(table, known_models(root)[0])
    if model is None:
        return _of_table(name)
    if model.reference.partition(":")[0].endswith(_DBT):
        contract, left_out = _of_dbt(f"{root / model.reference}")
        (promise,) = contract.promises
        return replace(contract, promises=(replace(promise, table=table),)), left_out
    return read_model(load_reference(model.reference, root), table)


def _of_table(name: str) -> tuple[Contract, Sequence[str]]:
    from airflow_provider_phlo.contracts.conversion.table import read
    from airflow_provider_phlo.iceberg.branches.history import load
    from airflow_provider_phlo.naming import qualified_table

    return read(load(open_catalog(), qualified_table(name))), ()


def _of_model(name: str) -> tuple[Contract, Sequence[str]]:
    """Return the contract of a model: ``package.module:Class``, ``path.py:Class``, or the name of a known one."""
    from airflow_provider_phlo.contracts.conversion.pandera import read_model
    from airflow_provider_phlo.naming import qualified_table
    from airflow_provider_phlo.schemas.project import known_models, load_reference

    root = project_folder()
    models = known_models(root)[0]
    known: KnownModel | None = None
    if ":" in name:
        reference, known = name, next((each for each in models if each.reference == name), None)
    else:
        known = named_model(name, models)
        if known is None:
            raise ConfigurationError(f"No model is called {name}: phlo schema list lists them, or write path.py:Class.")
        reference = known.reference
    table = qualified_table(known.table) if known and known.table else reference.rpartition(":")[2]
    return read_model(load_reference(reference, root), table)


def _of_dbt(reference: str) -> tuple[Contract, Sequence[str]]:
    """Return the contract of a dbt model: ``path.yml:model``, or the name of a known one."""
    from airflow_provider_phlo.contracts.conversion.dbt import read_model

    path, colon, model = reference.rpartition(":")
    if not colon:
        from airflow_provider_phlo.schemas.project import known_models

        models = [each for each in known_models(project_folder())[0] if each.reference.partition(":")[0].endswith(_DBT)]
        known = named_model(reference, models)
        if known is None:
            raise ConfigurationError(f"No dbt model is called {reference}: write path.yml:model.")
        path, _, model = known.reference.rpartition(":")
        path = str(project_folder() / path)
    return read_model(Path(path), model)


def _of_file(name: str) -> tuple[Contract, Sequence[str]]:
    from airflow_provider_phlo.contracts import read_contract

    return read_contract(Path(name)), ()


_SOURCES = {"table": _of_table, "pandera": _of_model, "dbt": _of_dbt, "odcs": _of_file, "short": _of_file}


def _put(file: str | None, text: str) -> None:
    """Print the text, or write it to a file that is not there yet."""
    if file is None:
        write_lines(text.rstrip("\n").split("\n"))
        return
    _create(Path(file), text)
    print(f"{file} is written.")


def _create(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already, and is not overwritten: move it, or choose another."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


def _say(command: str, form: str, left_out: Sequence[str]) -> None:
    """Say what the other form has no words for."""
    if left_out:
        print(f"phlo contract {command}: {form} has no words for", file=sys.stderr)
        for each in left_out:
            print(f"  {each}", file=sys.stderr)
