"""The models of a project: those in ``include/schemas``, in the YAML of its dbt models, and in its DAG files."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pandera.pandas import DataFrameModel

from airflow_provider_phlo.exceptions import PhloError, SchemaError
from airflow_provider_phlo.schemas import dbt_yaml
from airflow_provider_phlo.schemas.columns import load_model

_YAML = (".yml", ".yaml")


@dataclass(frozen=True)
class KnownModel:
    """
    A model that the project has.

    :param reference: what :func:`load_reference` loads it by.
    :param name: of the dbt model or the class.
    :param table: the table that a DAG file declares it for, as written there; None without one.
    """

    reference: str
    name: str
    table: str | None = None


def load_reference(reference: str, root: Path) -> type[DataFrameModel]:
    """
    Return the model that ``reference`` names.

    :param reference: ``package.module:Class``, ``path.py:Class``, or ``path.yml:model`` of a dbt model.
    :param root: the project's folder: paths start there, and its packages can be imported.
    :raises SchemaError: if there is none.
    """
    location, _, name = reference.rpartition(":")
    if location.endswith(_YAML):
        return dbt_yaml.dbt_model_to_pandera(root / location, name)
    if location.endswith(".py"):
        found = getattr(_module_of_file(root / location), name, None)
    else:
        add_to_import_path(root)
        found = load_model(reference)
    if not (isinstance(found, type) and issubclass(found, DataFrameModel)):
        raise SchemaError(f"{reference} is not a Pandera model: name a class that derives from PhloSchema.")
    return found


def add_to_import_path(root: Path) -> None:
    """Make the project's packages importable: a program in ``bin`` does not search the current folder."""
    folder = str(root.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _module_of_file(path: Path) -> ModuleType:
    add_to_import_path(path.parent)
    spec = importlib.util.spec_from_file_location(f"phlo_file_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SchemaError(f"There is no file {path}: write path.py:Class.")
    module = importlib.util.module_from_spec(spec)
    # typing looks up postponed annotations there
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SchemaError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def known_models(root: Path) -> tuple[list[KnownModel], list[str]]:
    """
    Return the models of the project in ``root``, and messages about what cannot be read.

    DAG files are read, never run.
    """
    problems: list[str] = []
    found: dict[str, KnownModel] = {}
    for model in _of_dag_files(root, problems):
        found.setdefault(model.reference, model)
    for model in [*_of_modules(root, problems), *_of_dbt(root, problems)]:
        found.setdefault(model.reference, model)
    return list(found.values()), problems


def _of_modules(root: Path, problems: list[str]) -> Iterator[KnownModel]:
    add_to_import_path(root)
    for path in sorted((root / "include" / "schemas").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - as above
            problems.append(f"{path} cannot be imported: {type(error).__name__}: {error}")
            continue
        for attribute, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, DataFrameModel) and _is_made_in(value, name):
                yield KnownModel(f"{name}:{attribute}", attribute)


def _is_made_in(model: type, module: str) -> bool:
    return model.__module__ in (module, dbt_yaml.__name__)


def _of_dbt(root: Path, problems: list[str]) -> Iterator[KnownModel]:
    for path in sorted((root / "include" / "dbt").rglob("models/**/*.y*ml")):
        try:
            names = dbt_yaml.model_names(path)
        except PhloError as error:
            problems.append(str(error))
            continue
        for name in names:
            yield KnownModel(f"{path.relative_to(root)}:{name}", name)


def _of_dag_files(root: Path, problems: list[str]) -> Iterator[KnownModel]:
    """Yield the models that calls such as ``@phlo_ingestion(table_name=…, validation_schema=…)`` name literally."""
    for path in sorted((root / "dags").rglob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            problems.append(f"{path} cannot be read: {error}")
            continue
        names = _names(tree, str(path.relative_to(root)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                said = {keyword.arg: keyword.value for keyword in node.keywords}
                table = _text(said.get("table_name")) or _text(said.get("table"))
                schema = said.get("validation_schema")
                reference = names.get(schema.id) if isinstance(schema, ast.Name) else _text(schema)
                if table and reference:
                    yield KnownModel(reference, reference.rpartition(":")[2], table)


def _names(tree: ast.Module, path: str) -> dict[str, str]:
    """Return references to the classes that a file imports or defines, by their names in it."""
    names: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}:{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            names[node.name] = f"{path}:{node.name}"
    return names


def _text(node: Any) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
