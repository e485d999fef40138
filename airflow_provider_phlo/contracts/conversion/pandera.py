"""A contract as Pandera models, and models as a contract."""

from __future__ import annotations

import datetime
import decimal
import inspect
import itertools
import keyword
import pprint
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pandera.pandas import DataFrameModel
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.contracts.conversion.iceberg_columns import contract_columns
from airflow_provider_phlo.contracts.conversion.identity import KEY, contract_of, identity_of, keys_required, together
from airflow_provider_phlo.contracts.conversion.yaml_text import without_empty
from airflow_provider_phlo.contracts.model.contract import Bounds, Column, Contract, Promise, is_personal
from airflow_provider_phlo.contracts.model.patterns import whole_part
from airflow_provider_phlo.contracts.model.types import ITEM, LISTS, MAPS, VALUE, PromisedType, promised_type
from airflow_provider_phlo.contracts.model.types import KEY as KEY_OF_MAP
from airflow_provider_phlo.contracts.rules.validation import validate
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.schemas.base import PhloSchema, is_attribute
from airflow_provider_phlo.schemas.columns import Column as ModelColumn
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.constraints import constraints
from airflow_provider_phlo.schemas.iceberg import pandera_to_iceberg
from airflow_provider_phlo.terms import METADATA_COLUMNS

# the type that a column of a model gets, for the first that keeps the promise
_ANNOTATIONS: tuple[tuple[IcebergType, str, str], ...] = (
    (LongType(), "int", ""),
    (IntegerType(), "Annotated[pd.ArrowDtype, pa.int32()]", "arrow"),
    (BooleanType(), "bool", ""),
    (StringType(), "str", ""),
    (FloatType(), "Annotated[pd.ArrowDtype, pa.float32()]", "arrow"),
    (TimestamptzType(), "datetime", "from datetime import datetime"),
    (TimestampType(), 'Annotated[pd.ArrowDtype, pa.timestamp("us")]', "arrow"),
    (DateType(), "date", "from datetime import date"),
    (TimeType(), "time", "from datetime import time"),
    (UUIDType(), "UUID", "from uuid import UUID"),
    (BinaryType(), "bytes", ""),
)
_DOUBLE = "float"
WIDTH = 110
_ARROW = ("from typing import Annotated", "import pandas as pd", "import pyarrow as pa")
_WHOLE = re.compile(r"\^\(\?:(.*)\)\\Z", re.DOTALL)


def write(contract: Contract) -> str:
    """
    Return a module with one model per table.

    :raises ConfigurationError: a column has no type, or one that no column of a model can have.
    """
    names = _class_names([promise.table for promise in contract.promises])
    models = [_Model(contract, promise, name) for promise, name in zip(contract.promises, names, strict=True)]
    imports = {line for model in models for line in model.imports} | {
        "from pandera.pandas import Field",
        "from airflow_provider_phlo.schemas import PhloSchema",
    }
    named = _literal_text(f"{contract.name} {contract.version}")
    head = f'"""The rows of tables, as contract {named} has them."""'
    return "\n".join((head, "", *sorted(imports, key=_import_order), *(model.text for model in models)))


def read(text: str, contract: Contract) -> Contract:
    """Return the contract that the models of a module say."""
    module = ModuleType("phlo_contract_models")
    sys.modules[module.__name__] = module  # Pandera looks annotations up there
    try:
        code = compile(text, "<contract>", "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102 - the text that was written above
    finally:
        del sys.modules[module.__name__]
    models = [
        each for each in vars(module).values() if isinstance(each, type) and issubclass(each, PhloSchema)
        and each is not PhloSchema
    ]  # fmt: skip
    found = [read_model(model, "")[0] for model in models]
    for model, promise in zip(models, contract.promises, strict=True):
        if breaches := [each for each in validate(promise, pandera_to_iceberg(model)) if each.blocking]:
            said = "; ".join(f"{each.column}: {each.problem}" for each in breaches)
            raise ConfigurationError(f"{contract.name}: no model can say that. {said}.")
    return together(found)


def read_model(model: type[DataFrameModel], table: str) -> tuple[Contract, list[str]]:
    """
    Return the contract that a model says, and which of its rules no contract has words for.

    :param table: the table of its rows; what the model's own metadata says of a contract comes first.
    """
    declared = model_columns(model)
    fields = {each.name: each for each in pandera_to_iceberg(model, metadata_columns=False).fields}
    columns, left_out = [], [f"unique together: {', '.join(names)}" for names in declared.unique_together]
    for each in declared.columns:
        column, rules = _read_column(fields[each.name], each, declared.schema.columns[each.name])
        columns.append(column)
        left_out += [f"{each.name}: {rule}" for rule in rules]
    said = (getattr(model.Config, "metadata", None) or {}).get(KEY, {})
    key = tuple(said.get("primary_key", ()))
    description = inspect.cleandoc(vars(model).get("__doc__") or "")
    promise = Promise(table, keys_required(tuple(columns), key), description)
    return contract_of(promise, said), left_out


def _read_column(field: NestedField, column: ModelColumn, declared: Any) -> tuple[Column, list[str]]:
    """
    Return a column with its constraints, and the rules that are left out.

    :param field: the column of the table that is made from the model.
    :param declared: the column of Pandera's own schema.
    """
    (bare,) = contract_columns([field])
    checks, lengths, pattern, rest = [], Bounds(), None, []
    for check in declared.checks:
        said = check.statistics or {}
        if check.raise_warning:
            rest.append(f"{check.name}, which only warns")
        elif check.name == "str_length" and said.get("exact_value") is None:
            lengths = Bounds(said.get("min_value"), said.get("max_value"))
        elif check.name == "str_matches" and (whole := _WHOLE.fullmatch(_pattern(said["pattern"]))):
            pattern = f"^(?:{whole[1]})$"
        elif check.name == "str_contains":
            pattern = _pattern(said["pattern"])
        else:
            checks.append(check)
    found = constraints(checks)
    metadata = declared.metadata or {}
    promised = promised_type(str(metadata.get("type", "")))
    return (
        Column(
            name=bare.name,
            type=promised if promised and promised.keeps(field.field_type) else bare.type,
            description=bare.description,
            required=bare.required,
            unique=column.unique,
            values=_bounds(found),
            lengths=lengths,
            pattern=pattern,
            allowed=found.allowed,
            classification=metadata.get("classification"),
            pii=column.pii or is_personal(metadata.get("tags", ()), metadata.get("classification")),
            tags=tuple(metadata.get("tags", ())),
            members=bare.members,
        ),
        [*rest, *found.rules],
    )


def _bounds(found: Any) -> Bounds:
    low, high = found.low, found.high
    return Bounds(
        _plain(low.value) if low else None,
        _plain(high.value) if high else None,
        bool(low and low.exclusive),
        bool(high and high.exclusive),
    )


def _plain(value: Any) -> Any:
    """Return a bound as YAML has it."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _pattern(pattern: Any) -> str:
    return str(getattr(pattern, "pattern", pattern))


@dataclass
class _Model:
    """The text of one model, and what it has to import."""

    contract: Contract
    promise: Promise
    name: str
    imports: set[str] = field(default_factory=set)
    text: str = ""

    def __post_init__(self) -> None:
        lines = ["", "", f"class {self.name}(PhloSchema):"]
        if self.promise.description:
            lines += [f"    {_docstring(self.promise.description)}", ""]
        # every table has the metadata columns: no model declares them
        own = [column for column in self.promise.columns if column.name not in METADATA_COLUMNS]
        lines += [self._field(self.name, position, column) for position, column in enumerate(own)]
        said = identity_of(self.contract, self.promise)
        shown = pprint.pformat({KEY: said}, width=WIDTH - 20, sort_dicts=False).replace("\n", "\n" + " " * 19)
        lines += ["", "    class Config:", f"        metadata = {shown}", ""]
        self.text = "\n".join(lines)

    def _field(self, model: str, position: int, column: Column) -> str:
        attribute = column.name
        options: dict[str, Any] = {}
        if not _can_be_attribute(column.name, model, {each.name for each in self.promise.columns}):
            attribute, options["alias"] = f"column_{position}", column.name
        options |= without_empty({"nullable": not column.required, "unique": column.unique})
        options |= {name: value for name, value in self._rules(column) if value is not None}
        options |= without_empty({"description": column.description, "metadata": _metadata(column)})
        arguments = [f"{name}={self._literal(value)}" for name, value in options.items()]
        begin = f"    {attribute}: {self._annotation(column)} = Field("
        line = f"{begin}{', '.join(arguments)})"
        return (
            line
            if len(line) <= WIDTH
            else "".join((begin, "\n", *(f"        {each},\n" for each in arguments), "    )"))
        )

    def _rules(self, column: Column) -> Iterator[tuple[str, Any]]:
        values, lengths = column.values, column.lengths
        yield "gt" if values.exclusive_low else "ge", _bound(column, values.low)
        yield "lt" if values.exclusive_high else "le", _bound(column, values.high)
        yield "isin", None if column.allowed is None else [_bound(column, value) for value in column.allowed]
        if column.pattern is not None:
            whole = whole_part(column.pattern)
            yield ("str_contains", column.pattern) if whole is None else ("str_matches", f"^(?:{whole})\\Z")
        if lengths != Bounds():
            yield "str_length", {"min_value": lengths.low, "max_value": lengths.high}

    def _annotation(self, column: Column) -> str:
        promised = self._type_of(column)
        if column.members or promised.parts:
            self.imports.update(_ARROW)
            return f"Annotated[pd.ArrowDtype, {self._arrow_column(column)}]"
        return self._plain_type(column.name, promised)

    def _type_of(self, column: Column) -> PromisedType:
        if column.type is None:
            raise ConfigurationError(
                f"{self.contract.name}: {self.promise.table}.{column.name} has no type, which a model needs: write it "
                "into the contract."
            )
        return column.type

    def _plain_type(self, column: str, promised: PromisedType) -> str:
        """Return the annotation of a type that holds no other."""
        if promised.decimal:
            self.imports.update(_ARROW)
            return f"Annotated[pd.ArrowDtype, pa.decimal128{promised.decimal}]"
        kinds = {kind.__name__ for kind in promised.kinds}
        if "DoubleType" in kinds:
            return _DOUBLE
        for kind, annotation, needed in _ANNOTATIONS:
            if promised.keeps(kind):
                self.imports.update(_ARROW if needed == "arrow" else {needed} - {""})
                return annotation
        if kinds & {"ListType", "StructType", "MapType"}:
            raise ConfigurationError(
                f"{self.contract.name}: {self.promise.table}.{column} is {promised.text} without what it holds, "
                "which a model cannot be made of: write it into the contract, as in list<string>, map<string, long> "
                "or struct<a: long>."
            )
        return "str"

    def _arrow_column(self, column: Column) -> str:
        """Return the Arrow type of a column, or of a member."""
        promised = self._type_of(column)
        if not column.members:
            return self._arrow(column.name, promised)
        inner = ", ".join(
            f"pa.field({member.name!r}, {self._arrow_column(member)}, nullable={not member.required})"
            for member in column.members
        )
        return f"pa.list_(pa.struct([{inner}]))" if promised.kinds == LISTS else f"pa.struct([{inner}])"

    def _arrow(self, column: str, promised: PromisedType) -> str:
        """Return the Arrow type of a type, with what it holds."""
        held = {name: self._arrow(column, part) for name, part in promised.parts}
        if promised.kinds == LISTS and held:
            return f"pa.list_({held[ITEM]})"
        if promised.kinds == MAPS and len(held) == 2:
            return f"pa.map_({held[KEY_OF_MAP]}, {held[VALUE]})"
        if held and promised.kinds != MAPS:
            return f"pa.struct([{', '.join(f'pa.field({name!r}, {kind})' for name, kind in held.items())}])"
        plain = self._plain_type(column, promised)
        if plain == "UUID":
            raise ConfigurationError(
                f"{self.contract.name}: {self.promise.table}.{column} holds a uuid inside a nested value, "
                "which PyArrow cannot write: no model can have it."
            )
        return _ARROW_TYPES.get(plain) or plain[len("Annotated[pd.ArrowDtype, ") : -1]

    def _literal(self, value: Any) -> str:
        if isinstance(value, datetime.datetime):
            self.imports.add("import datetime as dt")
            return repr(value).replace("datetime.", "dt.")
        if isinstance(value, datetime.date):
            self.imports.add("import datetime as dt")
            return repr(value).replace("datetime.", "dt.")
        if isinstance(value, list):
            return f"[{', '.join(map(self._literal, value))}]"
        return repr(value)


_NAMES = frozenset(
    "int bool str float bytes datetime date time UUID pd pa dt Annotated Field PhloSchema Config".split()  # noqa: SIM905
)
_ARROW_TYPES = {
    "int": "pa.int64()",
    "bool": "pa.bool_()",
    "str": "pa.string()",
    "float": "pa.float64()",
    "datetime": 'pa.timestamp("us", tz="UTC")',
    "date": "pa.date32()",
    "time": 'pa.time64("us")',
    "bytes": "pa.binary()",
}


def _metadata(column: Column) -> dict[str, Any]:
    return without_empty(
        {
            "pii": column.pii,
            "type": column.type.text if column.type else None,
            "classification": column.classification,
            "tags": list(column.tags),
        }
    )


def _bound(column: Column, value: Any) -> Any:
    """Return a bound as what compares with the column's values: moments and days are text in YAML."""
    if isinstance(value, str) and column.type is not None:
        if column.type.keeps(TimestamptzType()) or column.type.keeps(TimestampType()):
            moment = datetime.datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        if column.type.keeps(DateType()):
            return datetime.date.fromisoformat(value)
    return value


def _can_be_attribute(name: str, model: str, names: set[str]) -> bool:
    # an attribute that is called like a type hides it from the columns that follow
    return is_attribute(name, model, names) and not keyword.iskeyword(name) and name not in _NAMES


def _class_names(tables: Sequence[str]) -> list[str]:
    """Return a name for the model of each table: that of no other, and of nothing that the module imports."""
    found: list[str] = []
    for table in tables:
        words = "".join(word[:1].upper() + word[1:] for word in re.split(r"\W+|_+", table.rpartition(".")[2]))
        name = next((each for each in (words, f"Table{words}") if _can_be_class(each)), "Table")
        numbers = itertools.count(2)
        found.append(name if name not in found else next(n for n in (f"{name}_{i}" for i in numbers) if n not in found))
    return found


def _can_be_class(name: str) -> bool:
    # Python reads some letters as others: what it would read has to be what is written
    plain = unicodedata.normalize("NFKC", name) == name
    return plain and name.isidentifier() and not keyword.iskeyword(name) and name not in _NAMES


def _docstring(text: str) -> str:
    return f'"""{_literal_text(text)}"""'


def _literal_text(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')


def _import_order(line: str) -> tuple[int, str]:
    groups = (("from datetime", "from typing", "from uuid", "import datetime"), ("import pandas", "import pyarrow"))
    return next((number for number, starts in enumerate(groups) if line.startswith(starts)), len(groups)), line
