"""A contract in the short form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_phlo.contracts.conversion.held_types import whole_type
from airflow_provider_phlo.contracts.conversion.yaml_text import document_of, to_yaml, without_empty
from airflow_provider_phlo.contracts.forms import short_form
from airflow_provider_phlo.contracts.model.contract import Column, Contract, Promise
from airflow_provider_phlo.contracts.model.durations import in_hours
from airflow_provider_phlo.contracts.model.patterns import of_whole_text
from airflow_provider_phlo.exceptions import ConfigurationError


def write(contract: Contract) -> str:
    """
    Return the text of a contract in the short form.

    :raises ConfigurationError: it has several tables, or none, or the table has no columns.
    """
    if len(contract.promises) != 1:
        tables = ", ".join(promise.table for promise in contract.promises) or "no table"
        raise ConfigurationError(f"{contract.name} is about {tables}: a contract in the short form is about one.")
    (promise,) = contract.promises
    if not promise.columns:
        raise ConfigurationError(f"{contract.name}: {promise.table} has no columns: the short form needs one.")
    levels = {level.property.lower(): level for level in contract.service_levels if level.element is None}
    freshness, quality = levels.get("freshness"), levels.get("quality")
    return to_yaml(
        without_empty(
            {
                "name": contract.name,
                "version": contract.version,
                "status": contract.status if contract.status != "active" else "",
                "description": contract.description or promise.description,
                "owner": contract.owner,
                "table": promise.table,
                "schema": {"required_columns": [_column(column) for column in _with_key(promise)]},
                "sla": without_empty(
                    {
                        "freshness_hours": in_hours(freshness) if freshness else None,
                        "quality_threshold": quality.value if quality and quality.unit == "share" else None,
                    }
                ),
                "consumers": [without_empty({"name": each.name, "usage": each.usage}) for each in contract.consumers],
                "tags": list(contract.tags),
            }
        )
    )


def read(text: str, contract: Contract) -> Contract:
    """
    Return the contract that a text in the short form says.

    :param contract: what it was written from: messages name it, as the text is in no file.
    :raises ConfigurationError: it says what the short form does not allow.
    """
    document = document_of(text)
    document.path = Path(f"{contract.name} in the short form")
    return short_form.read(document)


def _with_key(promise: Promise) -> Iterator[Column]:
    """Yield the columns; those of a key have a value in every row, and a key of one column has none twice."""
    for column in promise.columns:
        keyed = column.name in promise.primary_key
        unique = column.unique or promise.primary_key == (column.name,)
        yield replace(column, required=column.required or keyed, unique=unique)


def _column(column: Column) -> dict[str, Any]:
    low, high = column.values.low, column.values.high
    return without_empty(
        {
            "name": column.name,
            "type": whole_type(column),
            "description": column.description,
            "constraints": {
                **without_empty({"required": column.required, "unique": column.unique}),
                **_given("min", None if column.values.exclusive_low else low),
                **_given("max", None if column.values.exclusive_high else high),
                **_given("min_length", column.lengths.low),
                **_given("max_length", column.lengths.high),
                **_given("pattern", None if column.pattern is None else of_whole_text(column.pattern)),
                **_given("allowed_values", None if column.allowed is None else list(column.allowed)),
            },
            "pii": column.pii,
            "classification": column.classification,
            "tags": list(column.tags),
        }
    )


def _given(name: str, value: Any) -> dict[str, Any]:
    """Return the pair unless there is no value: 0 is one."""
    return {} if value is None else {name: value}
