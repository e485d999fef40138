"""What a contract says and another form of it does not: found by reading what was written, so nothing is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_phlo.contracts.conversion.held_types import with_members
from airflow_provider_phlo.contracts.model.contract import Column, Contract, Promise
from airflow_provider_phlo.contracts.model.durations import comparable
from airflow_provider_phlo.contracts.model.patterns import same_pattern

# said by the tag, by the classification, or by a word of its own
_PII = "pii"
_COLUMN = ": column"


def left_out(before: Contract, after: Contract) -> list[str]:
    """Return what ``before`` says and ``after`` does not say, each in a few words: ``value: pattern``."""
    old, new = _statements(before), _statements(after)
    lost = [place for place, value in old.items() if new.get(place) != value]
    gone = tuple(place.removesuffix(_COLUMN) for place in lost if place.endswith(_COLUMN))
    # of a column that is not there, that is enough
    return [place for place in lost if place.endswith(_COLUMN) or place.rpartition(": ")[0] not in gone]


def _statements(contract: Contract) -> dict[str, Any]:
    """Return everything that a contract says, by where it says it."""
    named = ("name", "version", "owner", "status", "description")
    found = {name: getattr(contract, name) for name in named} | {"tags": _words(contract.tags)}
    for level in contract.service_levels:
        place = f"service level {level.property}{f' of {level.element}' if level.element else ''}"
        found[place] = comparable(level)
    for consumer in contract.consumers:
        found[f"consumer {consumer.name}"] = consumer.usage or True
    several = len(contract.promises) > 1
    for promise in contract.promises:
        found |= _of_promise(promise, f"{promise.table}: " if several else "")
    return {place: value for place, value in found.items() if value not in (None, "", (), False)}


def _of_promise(promise: Promise, where: str) -> dict[str, Any]:
    return {
        f"{where}table": promise.table,
        f"{where}description of the table": promise.description,
        f"{where}primary key": promise.primary_key,
        f"{where}partitioning": promise.partitioned_by,
        **{f"{where}rule {rule.name}": replace(rule, line=None) for rule in promise.rules},
        **dict(_of_columns(promise.columns, where, ())),
    }


def _of_columns(columns: Sequence[Column], where: str, above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for column in map(with_members, columns):
        path = (*above, column.name)
        said: Mapping[str, Any] = {
            "column": True,
            "type": column.type,
            "description": column.description,
            "required": column.required,
            "unique": column.unique,
            "least value": _end(column.values.low, column.values.exclusive_low),
            "greatest value": _end(column.values.high, column.values.exclusive_high),
            "least length": column.lengths.low,
            "greatest length": column.lengths.high,
            "distinct items": column.distinct_items,
            "pattern": same_pattern(column.pattern),
            "allowed values": tuple(map(_plain, column.allowed or ())),
            "classification": column.classification,
            "pii": column.pii,
            "tags": _words(column.tags),
            **{f"rule {rule.name}": replace(rule, line=None) for rule in column.rules},
        }
        for what, value in said.items():
            yield f"{where}{'.'.join(path)}: {what}", value
        yield from _of_columns((*column.members, *filter(None, (column.items,))), where, path)


def _end(value: Any, exclusive: bool) -> Any:
    return None if value is None else (_plain(value), exclusive)


def _plain(value: Any) -> Any:
    """Return a day or a moment as text, as some forms have it."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def _words(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(tag for tag in tags if tag.lower() != _PII)
