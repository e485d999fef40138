"""What a contract says beside its columns, as values that other forms keep for it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_phlo.contracts.conversion.yaml_text import without_empty
from airflow_provider_phlo.contracts.model.contract import Column, Consumer, Contract, Promise, ServiceLevel

#: The key below which Pandera's metadata and dbt's meta have it.
KEY = "contract"
#: The version of a contract that nobody has published yet.
FIRST_VERSION = "0.1.0"


def identity_of(contract: Contract, promise: Promise) -> dict[str, Any]:
    """Return who promises what to whom, of one table of a contract, as plain values."""
    named = ("name", "version", "status", "owner", "description")
    return without_empty(
        {
            **{name: getattr(contract, name) for name in named},
            "table": promise.table,
            "primary_key": list(promise.primary_key),
            "partitioned_by": list(promise.partitioned_by),
            "service_levels": [
                without_empty({"property": each.property, "unit": each.unit, "element": each.element})
                | {"value": each.value}
                for each in contract.service_levels
            ],
            "consumers": [without_empty({"name": each.name, "usage": each.usage}) for each in contract.consumers],
            "tags": list(contract.tags),
        }
    )


def contract_of(promise: Promise, said: Mapping[str, Any] | None = None) -> Contract:
    """
    Return the contract of a table.

    :param promise: its columns; table, keys and partitioning are added from ``said`` where it lacks them.
    :param said: as :func:`identity_of` returned it; a new contract is a draft of version 0.1.0.
    """
    said = said if isinstance(said, Mapping) else {}
    promise = replace(
        promise,
        table=str(said.get("table", promise.table)),
        primary_key=tuple(said.get("primary_key", promise.primary_key)),
        partitioned_by=tuple(said.get("partitioned_by", promise.partitioned_by)),
    )
    return Contract(
        name=str(said.get("name", promise.table.rpartition(".")[2])),
        version=str(said.get("version", FIRST_VERSION)),
        owner=str(said.get("owner", "")),
        promises=(promise,),
        form=None,
        source=Path(),
        status=str(said.get("status", "active" if "version" in said else "draft")),
        description=str(said.get("description", promise.description)),
        service_levels=tuple(
            ServiceLevel(each["property"], each["value"], each.get("unit", ""), each.get("element"))
            for each in said.get("service_levels", ())
        ),
        consumers=tuple(Consumer(each["name"], each.get("usage", "")) for each in said.get("consumers", ())),
        tags=tuple(said.get("tags", ())),
    )


def together(contracts: list[Contract]) -> Contract:
    """Return the contract of several tables from those of each, which say the same of everything else."""
    return replace(contracts[0], promises=tuple(promise for each in contracts for promise in each.promises))


def keys_required(columns: tuple[Column, ...], key: tuple[str, ...]) -> tuple[Column, ...]:
    """Return columns with those of the key required: a key has a value in every row."""
    return tuple(replace(each, required=True) if each.name in key else each for each in columns)
