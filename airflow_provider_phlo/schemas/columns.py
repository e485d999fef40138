"""What a Pandera model declares, as plain columns with Arrow types."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pandera.errors import SchemaInitError
from pandera.pandas import Check, DataFrameModel, DataFrameSchema
from pydantic.errors import PydanticUserError

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.constraints import with_decimals
from airflow_provider_phlo.schemas.dtypes import UUID, Time
from airflow_provider_phlo.schemas.personal import declares_pii
from airflow_provider_phlo.schemas.polars_models import is_polars, polars_type
from airflow_provider_phlo.schemas.types import stored_as
from airflow_provider_phlo.schemas.values import text

TIMESTAMP = pa.timestamp("us", tz="UTC")
# Pandera's own default for a bare ``Decimal`` is scale 0, which would cut every fraction.
DECIMAL = pa.decimal128(38, 9)

_PYTHON_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime.datetime: TIMESTAMP,
    datetime.date: pa.date32(),
    datetime.time: pa.time64("us"),
    decimal.Decimal: DECIMAL,
    uuid.UUID: pa.uuid(),
}
_DTYPE_NAMES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "object": pa.string(),
    "str": pa.string(),
    "category": pa.string(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
}
_SPELLED = {kind: python.__name__ for python, kind in _PYTHON_TYPES.items()}


@dataclass(frozen=True)
class Column:
    """
    One declared column.

    :param type: the type of the table's column.
    :param exact: the same, but for integers the model's own type: a table's column for ``uint8`` could hold -1 and 256.
    :param nullable: whether a row may lack a value (declared as ``nullable`` or optional).
    :param default: the value of a row that lacks one; None for no default.
    :param pii: whether samples of it must be masked (``metadata={"pii": True}``).
    :param json: whether its text is JSON (declared as ``dict`` or ``list`` without the types of their members).
    """

    name: str
    type: pa.DataType
    exact: pa.DataType
    nullable: bool = False
    unique: bool = False
    default: Any = None
    description: str | None = None
    pii: bool = False
    json: bool = False


@dataclass(frozen=True)
class ModelColumns:
    """
    Everything that a model declares.

    :param strict: True forbids, "filter" drops columns that are not declared; False keeps them.
    :param unique_together: sets of columns whose values are unique together.
    """

    model: type[DataFrameModel]
    columns: tuple[Column, ...]
    schema: DataFrameSchema = field(repr=False)
    strict: bool | str = False
    unique_together: tuple[tuple[str, ...], ...] = ()

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def unique_sets(self) -> list[tuple[str, ...]]:
        """Return the columns and sets of columns whose values are unique."""
        return [*((column.name,) for column in self.columns if column.unique), *self.unique_together]

    def __contains__(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)


def model_columns(model: type[DataFrameModel]) -> ModelColumns:
    """
    Return what ``model`` declares.

    :raises SchemaError: if it is not a Pandera model, has mistakes, or uses a type without an Iceberg counterpart.
    """
    if not (isinstance(model, type) and (issubclass(model, DataFrameModel) or is_polars(model))):
        raise SchemaError(f"A validation_schema must be a Pandera DataFrameModel class, not {model!r}.")
    hashable: Any = model
    return _model_columns(hashable)


@cache
def _model_columns(model: Any) -> ModelColumns:
    try:
        schema = model.to_schema()
    except (SchemaInitError, PydanticUserError, TypeError, AttributeError) as error:
        raise SchemaError(f"{model.__name__} cannot be used as validation schema: {error}") from error
    columns = tuple(_column(model, name, declared) for name, declared in schema.columns.items())
    together = (tuple([schema.unique] if isinstance(schema.unique, str) else schema.unique),) if schema.unique else ()
    return ModelColumns(model, columns, _with_exact_rules(schema, columns), schema.strict, together)


def _with_exact_rules(schema: DataFrameSchema, columns: Iterable[Column]) -> DataFrameSchema:
    """Return ``schema`` with the rules that types imply: only categories are allowed, decimals get decimal bounds."""
    schema = copy.copy(schema)  # Pandera caches one schema per model and hands the same object to everybody
    schema.columns = {name: copy.copy(column) for name, column in schema.columns.items()}
    for column in columns:
        declared = schema.columns[column.name]
        categories = getattr(declared.dtype, "categories", None)
        if categories is not None:
            declared.checks = [*declared.checks, Check.isin([text(each) for each in categories])]
        if pa.types.is_decimal(column.type):
            declared.checks = [with_decimals(check) for check in declared.checks]
    return schema


def require_key(declared: ModelColumns, key: tuple[str, ...]) -> None:
    """
    Check that Pandera has not dropped a key column because its name starts with an underscore.

    :raises SchemaError: if the model is a plain ``DataFrameModel`` that names such a column.
    """
    for name in key:
        if name not in declared and any(
            name in vars(base).get("__annotations__", {}) for base in declared.model.__mro__
        ):
            raise SchemaError(
                f"Key column {name!r} of {declared.model.__name__} is lost: Pandera drops names that start with an "
                "underscore. Derive the model from airflow_provider_phlo.schemas.PhloSchema, which keeps them."
            )


def require_names(declared: ModelColumns, normalize: Callable[[str], str]) -> None:
    """
    Check that incoming rows, whose names are normalised, can have the declared columns.

    :param normalize: dlt's naming convention.
    :raises SchemaError: if the convention would change a column's name, so that the column would never have a value.
    """
    renamed = {column.name: normalize(column.name) for column in declared.columns}
    lost = [f"{new!r} instead of {name!r}" for name, new in renamed.items() if new != name]
    if lost:
        raise SchemaError(
            f"{declared.model.__name__} declares columns that no row will have, because incoming names follow dlt's "
            f"naming convention: declare {', '.join(lost)}."
        )


def _column(model: type[DataFrameModel], name: str, declared: Any) -> Column:
    metadata = declared.metadata or {}
    if not isinstance(name, str):
        raise SchemaError(f"{model.__name__} has a column named {name!r}: names must be text, so write alias='…'.")
    if declared.regex:
        raise SchemaError(
            f"{model.__name__}: the pattern {name!r} stands for columns that are not known yet: declare each column. "
            "Columns that are not declared are kept anyway."
        )
    kind, exact = _declared_types(model, name, declared.dtype)
    return Column(
        name=name,
        type=kind,
        exact=exact,
        nullable=bool(declared.nullable or not declared.required),
        unique=bool(declared.unique),
        default=declared.default,
        description=declared.description,
        pii=declares_pii(metadata, metadata.get("tags", ())),
        json=pa.types.is_string(kind) and _nested_type(_annotation(model.__fields__[name][0])) is not None,
    )


def _declared_types(model: type[DataFrameModel], name: str, dtype: Any) -> tuple[pa.DataType, pa.DataType]:
    """Return the ``type`` and ``exact`` type of a column."""
    info = model.__fields__[name][0]
    where = f"Column {name!r} of {model.__name__}"
    try:
        if _is_enum(_annotation(info)):
            raise KeyError(info)  # Pandera makes it a category whose values are the enum's members themselves
        exact = _polars_type(info, dtype) if is_polars(model) else _arrow_type(info, dtype)
        kind = stored_as(exact)
        return kind, exact if pa.types.is_integer(exact) else kind
    except (KeyError, SchemaError):
        raise SchemaError(
            f"{where} has type {_annotation(info)!r}, which has no Iceberg counterpart: use str, int, float, bool, "
            "datetime, date, time, Decimal, UUID, bytes, list[…], a TypedDict, or Annotated[pandas.ArrowDtype, …] with "
            "an Arrow type that Iceberg has; for an enum, str or int with isin=[…]."
        ) from None
    except RecursionError:
        raise SchemaError(
            f"{where} has a type that contains itself, which Iceberg does not have: declare it as dict, which "
            "is stored as JSON text."
        ) from None


def _is_enum(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def _annotation(info: Any) -> Any:
    """Return the annotation without Pandera's own ``Series[…]`` and without ``Annotated``."""
    if info.origin is not None and getattr(info.origin, "__module__", "").startswith("pandera"):
        return info.arg
    raw = info.raw_annotation
    return typing.get_args(raw)[0] if typing.get_origin(raw) is typing.Annotated else raw


def _arrow_type(info: Any, dtype: Any) -> pa.DataType:
    """Return the Arrow type of an annotation, or of Pandera's own dtype; KeyError if there is none."""
    exact = _exact(info.metadata or ()) or getattr(getattr(dtype, "type", None), "pyarrow_dtype", None)
    if exact is not None and not isinstance(dtype, (Time, UUID)):
        return exact
    annotation = _annotation(info)
    precision, scale = getattr(dtype, "precision", None), getattr(dtype, "scale", None)
    if precision is not None and annotation is not decimal.Decimal:
        return pa.decimal128(precision, scale or 0)
    if annotation in _PYTHON_TYPES:
        return _PYTHON_TYPES[annotation]
    nested = _nested_type(annotation)
    if nested is not None:
        return nested
    name = str(dtype).lower()
    if name.startswith("datetime64"):
        return TIMESTAMP
    if name == "object" and annotation not in (object, np.object_):
        raise KeyError(annotation)  # pandas treats every class that it does not know as an object
    return pa.string() if name.startswith("string") else _DTYPE_NAMES[name]


def _polars_type(info: Any, dtype: Any) -> pa.DataType:
    """Return the Arrow type of a column of a ``pandera.polars`` model; KeyError if there is none."""
    # Python's class or the one of Polars, without digits
    is_bare_decimal = getattr(_annotation(info), "__name__", "") == "Decimal" and not info.metadata
    return DECIMAL if is_bare_decimal else polars_type(dtype)


def _exact(metadata: Iterable[Any]) -> pa.DataType | None:
    """Return the Arrow type of ``Annotated[…, pyarrow type]``."""
    return next((item for item in metadata if isinstance(item, pa.DataType)), None)


def _nested_type(annotation: Any) -> pa.DataType | None:
    """Return list and struct types; a bare ``dict`` or ``list``, and ``dict[…]``, become JSON text."""
    if annotation in (dict, list):
        return pa.string()
    if isinstance(annotation, type) and hasattr(annotation, "__required_keys__"):  # any library's TypedDict
        hints = typing.get_type_hints(annotation, include_extras=True)
        return pa.struct([(name, _python_type(kind)) for name, kind in hints.items()])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return pa.list_(_python_type(arguments[0]))
    return pa.string() if origin is dict else None


def _python_type(annotation: Any) -> pa.DataType:
    """Return the type of a member; ``| None``, ``NotRequired`` and the like do not change it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        exact = _exact(arguments[1:])
        return stored_as(exact) if exact is not None else _python_type(arguments[0])
    arguments = tuple(argument for argument in arguments if argument is not type(None))
    if origin not in (list, dict, None) and len(arguments) == 1:
        return _python_type(arguments[0])
    return _PYTHON_TYPES[annotation] if annotation in _PYTHON_TYPES else _required(_nested_type(annotation), annotation)


def _required(found: pa.DataType | None, annotation: Any) -> pa.DataType:
    if found is None:
        raise KeyError(annotation)
    return found


def spelling(kind: pa.DataType) -> str:
    """Return what an author writes for a column of type ``kind``: ``str``, ``list[int]``, ``Annotated[…]``."""
    if kind in _SPELLED:
        return _SPELLED[kind]
    if pa.types.is_list(kind) and kind.value_field.nullable:
        element = spelling(kind.value_type)
        if not element.startswith("Annotated"):
            return f"list[{element}]"
    if pa.types.is_struct(kind) and all(item.nullable and not item.metadata for item in kind):
        return "TypedDict"
    return f"Annotated[pd.ArrowDtype, {kind}]"


def load_model(reference: Any) -> type[DataFrameModel]:
    """
    Return the model that ``reference`` names.

    :param reference: the class itself, or ``"package.module:Class"``, which keeps Pandera out of DAG parsing.
    :raises SchemaError: if it cannot be imported.
    """
    if not isinstance(reference, str):
        return reference
    from importlib import import_module

    module, _, name = reference.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SchemaError(
            f"The schema {reference!r} cannot be loaded ({error}): write 'package.module:Class'."
        ) from error
