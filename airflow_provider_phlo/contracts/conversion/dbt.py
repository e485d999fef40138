"""A contract as the YAML of dbt models, and the YAML of a dbt model as a contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_phlo.contracts.conversion.held_types import whole_type
from airflow_provider_phlo.contracts.conversion.identity import KEY, contract_of, identity_of, keys_required, together
from airflow_provider_phlo.contracts.conversion.yaml_text import document_of, to_yaml, without_empty
from airflow_provider_phlo.contracts.model.contract import Bounds, Column, Contract, Promise, is_personal
from airflow_provider_phlo.contracts.model.types import PromisedType, promised_type
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.schemas.dbt_tests import RANGE_TESTS, UNCERTAIN, Test, sql_literal, tests_of
from airflow_provider_phlo.schemas.dbt_yaml import models_of
from airflow_provider_phlo.suggestions import did_you_mean

_RANGE = "dbt_utils.accepted_range"
_REGEX = "dbt_expectations.expect_column_values_to_match_regex"
_LENGTHS = "dbt_expectations.expect_column_value_lengths_to_be_between"


def write(contract: Contract) -> str:
    """Return YAML with one model per table."""
    return to_yaml({"version": 2, "models": [_model(contract, promise) for promise in contract.promises]})


def read(text: str, _contract: Contract) -> Contract:
    """Return the contract that the models of a text say."""
    models = document_of(text).values["models"]
    return together([_read(model, f"model {model['name']}")[0] for model in models])


def read_model(path: Path, name: str) -> tuple[Contract, list[str]]:
    """
    Return the contract that a dbt model's YAML says, and which of its tests no contract has words for.

    :raises ConfigurationError: there is no such model in the file, or it declares no columns.
    :raises SchemaError: the file cannot be read.
    """
    models = models_of(path)
    if name not in models:
        hint = did_you_mean(name, models) or f" It has {', '.join(models) or 'no models'}."
        raise ConfigurationError(f"{path} has no model {name}.{hint}")
    if not models[name].get("columns"):
        raise ConfigurationError(f"The model {name} in {path} declares no columns: list them there.")
    return _read(models[name], f"model {name} in {path}")


def _model(contract: Contract, promise: Promise) -> dict[str, Any]:
    return without_empty(
        {
            "name": promise.table.rpartition(".")[2],
            "description": promise.description,
            "config": {"meta": {KEY: identity_of(contract, promise)}},
            "columns": [_column(column) for column in promise.columns],
        }
    )


def _column(column: Column) -> dict[str, Any]:
    return without_empty(
        {
            "name": column.name,
            "description": column.description,
            "data_type": whole_type(column),
            "config": without_empty(
                {
                    "tags": list(column.tags),
                    "meta": without_empty({"pii": column.pii, "classification": column.classification}),
                }
            ),
            "data_tests": list(_tests(column)),
        }
    )


def _tests(column: Column) -> Iterator[Any]:
    yield from (name for name, said in (("not_null", column.required), ("unique", column.unique)) if said)
    if column.allowed is not None:
        if all(isinstance(value, str) for value in column.allowed):
            yield _with("accepted_values", {"values": [value.replace("'", "''") for value in column.allowed]})
        else:
            yield _with("accepted_values", {"values": list(column.allowed), "quote": False})
    ends, lengths = column.values, column.lengths
    if ends.exclusive_low == ends.exclusive_high or None in (ends.low, ends.high):
        yield from _range({"min_value": ends.low, "max_value": ends.high}, ends.exclusive_low or ends.exclusive_high)
    else:
        yield from _range({"min_value": ends.low}, ends.exclusive_low)
        yield from _range({"max_value": ends.high}, ends.exclusive_high)
    if column.pattern is not None:
        yield _with(_REGEX, {"regex": column.pattern})
    if lengths != Bounds():
        yield _with(_LENGTHS, _given({"min_value": lengths.low, "max_value": lengths.high}))


def _range(ends: Mapping[str, Any], strict: bool) -> Iterator[Any]:
    given = {name: _expression(value) for name, value in _given(ends).items()}
    if given:
        yield _with(_RANGE, {**given, **({"inclusive": False} if strict else {})})


def _expression(value: Any) -> Any:
    """Return a bound as the SQL that dbt's test puts into its query."""
    if isinstance(value, int | float):
        return value
    text = str(value).replace("'", "''")
    return f"'{text}'"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _with(test: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {test: {"arguments": dict(arguments)}}


def _read(model: Mapping[str, Any], where: str) -> tuple[Contract, list[str]]:
    said = _meta(model).get(KEY) or {}
    left_out = [f"{test.name} of the whole model" for test in tests_of(model, where)]
    columns = []
    for each in model.get("columns") or ():
        column, rest = _read_column(each, f"column {each.get('name')} of {where}")
        columns.append(column)
        left_out += [f"{column.name}: {test}" for test in rest]
    key = tuple(said.get("primary_key", ()))
    description = str(model.get("description") or "").strip()
    promise = Promise(str(model["name"]), keys_required(tuple(columns), key), description)
    return contract_of(promise, said), left_out


def _read_column(declared: Mapping[str, Any], where: str) -> tuple[Column, list[str]]:
    """Return a column with its constraints, and the tests that are left out, with the reason."""
    kind = str(declared.get("data_type") or "")
    promised = promised_type(kind) if kind else None
    left_out = [f"data_type {kind}, which is not known here"] if kind and promised is None else []
    found: dict[str, Any] = {}
    ends: list[Bounds] = []
    for test in tests_of(declared, where):
        reason = "it only warns" if test.warns else test.inactive
        taken = None if reason else _constraint(test, promised)
        if taken is None:
            left_out.append(f"{test.name}{f' ({reason})' if reason else ''}")
        elif isinstance(taken, Bounds):
            ends.append(taken)
        else:
            found |= taken
    meta = _meta(declared)
    tags = tuple(_tags(declared))
    return (
        Column(
            name=str(declared.get("name")),
            type=promised,
            description=str(declared.get("description") or "").strip(),
            values=_both(ends),
            classification=meta.get("classification"),
            pii=bool(meta.get("pii")) or is_personal(tags, meta.get("classification")),
            tags=tags,
            **found,
        ),
        left_out,
    )


def _constraint(test: Test, promised: PromisedType | None) -> dict[str, Any] | Bounds | None:
    """Return what a test says of a column; None if a contract has no words for it."""
    said = test.arguments
    if test.name == "not_null":
        return {"required": True}
    if test.name == "unique":
        return {"unique": True}
    if test.name == "accepted_values":
        values = test.values()
        return None if UNCERTAIN in values or not values else {"allowed": tuple(values)}
    if test.name in RANGE_TESTS:
        return _bounds(test)
    if test.name == _REGEX and isinstance(said.get("regex"), str) and not set(said) - {"regex", "arguments"}:
        return {"pattern": said["regex"]}
    if test.name == _LENGTHS and not said.get("strictly"):
        return {"lengths": Bounds(said.get("min_value"), said.get("max_value"))}
    return None


def _bounds(test: Test) -> Bounds | None:
    strict = bool(test.arguments.get("strictly", False) or not test.arguments.get("inclusive", True))
    low, high = (sql_literal(test.arguments.get(name)) for name in ("min_value", "max_value"))
    if UNCERTAIN in (low, high) or (low is None and high is None):
        return None
    return Bounds(low, high, strict and low is not None, strict and high is not None)


def _both(ends: Sequence[Bounds]) -> Bounds:
    """Return the bounds that two tests of one end each say together."""
    found = Bounds()
    for each in ends:
        low = each if each.low is not None else found
        high = each if each.high is not None else found
        found = Bounds(low.low, high.high, low.exclusive_low, high.exclusive_high)
    return found


def _meta(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the meta of a model or column; dbt takes it at the top or below ``config``."""
    return {**(declared.get("meta") or {}), **((declared.get("config") or {}).get("meta") or {})}


def _tags(declared: Mapping[str, Any]) -> Iterator[str]:
    for level in (declared, declared.get("config") or {}):
        tags = level.get("tags") or ()
        yield from [tags] if isinstance(tags, str) else map(str, tags)
