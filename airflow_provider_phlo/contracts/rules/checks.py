"""What a contract promises of a table's rows, as checks that one scan answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_phlo.contracts.model.contract import Bounds, Column, Contract, Promise, Rule
from airflow_provider_phlo.contracts.rules.columns_check import RULE, ColumnsCheck
from airflow_provider_phlo.contracts.rules.conditions import (
    Criterion,
    Invalid,
    Missing,
    NotAllowed,
    OutOfBounds,
    RepeatedItems,
    WithoutPattern,
    WrongLength,
)
from airflow_provider_phlo.contracts.rules.places import Place
from airflow_provider_phlo.contracts.rules.rule_checks import (
    DuplicatesCheck,
    Origin,
    PromiseCheck,
    RowCountCheck,
    ValuesCheck,
)
from airflow_provider_phlo.contracts.rules.sql_rules import SQLRuleCheck
from airflow_provider_phlo.contracts.rules.thresholds import threshold_of
from airflow_provider_phlo.quality.results import Severity

_WARNS = frozenset({"info", "warning", "warn", "low", "minor", "trivial"})


def checks_of(contract: Contract, promise: Promise) -> list[PromiseCheck]:
    """
    Return the checks of a table: its columns first, then its rows.

    :param promise: of the contract, about that table.
    """
    made = [*_Promised(contract, promise).checks()]
    pii = pii_columns(promise)
    for check in made:
        if isinstance(check, ValuesCheck | DuplicatesCheck):
            check.key_columns = promise.primary_key
            if pii & {*promise.primary_key, *(check.column_names() if isinstance(check, DuplicatesCheck) else ())}:
                check.samples = 0
    return _with_distinct_names(made)


def pii_columns(promise: Promise) -> frozenset[str]:
    """Return the columns whose values are never shown."""
    return frozenset(column.name for column in promise.columns if _is_pii(column))


def severity_of(rule: Rule) -> Severity:
    """Return whether a rule that is broken fails, or warns."""
    return "warn" if rule.severity.strip().lower() in _WARNS else "error"


class _Promised:
    """The promises about one table, as checks."""

    def __init__(self, contract: Contract, promise: Promise) -> None:
        self._contract, self._promise = contract, promise

    def checks(self) -> Iterator[PromiseCheck]:
        consumers = tuple(consumer.name for consumer in self._contract.consumers)
        yield ColumnsCheck(self._origin(RULE, self._promise.line), self._promise, consumers, self._contract.owner)
        for column in self._promise.columns:
            yield from self._column(column, ())
        key = self._promise.primary_key
        if key:
            places = tuple(Place((name,)) for name in key)
            yield DuplicatesCheck(self._origin("primary key", self._promise.line), places)
        for rule in self._promise.rules:
            yield from self._rule(rule, None)

    def _column(self, column: Column, above: tuple[str, ...]) -> Iterator[PromiseCheck]:
        place = Place((*above, column.name))
        for name, criterion in criteria_of(column):
            yield ValuesCheck(self._origin(f"{place.name} {name}", column.line), place, criterion)
        if column.unique and self._promise.primary_key != place.path:
            yield DuplicatesCheck(self._origin(f"{place.name} unique", column.line), (place,))
        for rule in column.rules:
            yield from self._rule(rule, column, place)
        for below in (*column.members, *filter(None, (column.items,))):
            yield from self._column(below, place.path)

    def _rule(self, rule: Rule, column: Column | None, place: Place | None = None) -> Iterator[PromiseCheck]:
        name = rule.id or rule.name
        origin = self._origin(f"{place.name} {name}" if place else name, rule.line, rule.description)
        threshold, severity = threshold_of(rule), severity_of(rule)
        if rule.query is not None:
            called = self._promise.logical_name
            yield SQLRuleCheck(origin, rule.query, threshold, place, called, severity=severity)
        elif rule.metric == "rowCount":
            yield RowCountCheck(origin, threshold, severity=severity)
        elif rule.metric == "duplicateValues":
            names = rule.arguments.get("properties") or ()
            places = tuple(map(self._place, names)) or ((place,) if place else ())
            yield DuplicatesCheck(origin, places, threshold, severity=severity)
        elif column and place:
            criterion = _metric(rule, column)
            yield ValuesCheck(origin, place, criterion, threshold, severity=severity)

    def _place(self, name: Any) -> Place:
        column, *members = str(name).split(".")
        return Place((self._promise.column_called(column), *members))

    def _origin(self, rule: str, line: int | None, description: str = "") -> Origin:
        return Origin(self._contract.name, self._contract.version, rule, line, description)


def criteria_of(column: Column) -> Iterator[tuple[str, Criterion]]:
    """Yield what every value of a column has to be, and what that is called."""
    if column.required:
        yield "required", Missing()
    yield from _validity(column)


def _validity(column: Column) -> Iterator[tuple[str, Criterion]]:
    if column.values != Bounds():
        yield "range", OutOfBounds(column.values)
    lengths = _lengths(column)
    if lengths != Bounds():
        yield "length", WrongLength(lengths)
    if column.distinct_items:
        yield "distinct items", RepeatedItems()
    if column.pattern is not None:
        yield "pattern", WithoutPattern(column.pattern)
    if column.allowed is not None:
        yield "allowed values", NotAllowed(column.allowed)


def _lengths(column: Column) -> Bounds:
    """Return how long a column's values may be: by its type, ``varchar(10)``, too."""
    ends = [column.lengths.high, column.type.length if column.type else None]
    return replace(column.lengths, high=min((end for end in ends if end is not None), default=None))


def _metric(rule: Rule, column: Column) -> Criterion:
    arguments = rule.arguments
    missing = Missing(tuple(_listed(arguments.get("missingValues"))))
    if rule.metric == "missingValues":
        return missing
    if rule.metric == "nullValues":
        return Missing()
    criteria: list[Criterion] = []
    if "validValues" in arguments:
        criteria.append(NotAllowed(tuple(_listed(arguments["validValues"]))))
    if "pattern" in arguments:
        criteria.append(WithoutPattern(str(arguments["pattern"])))
    if not criteria:
        criteria += [criterion for _, criterion in _validity(column)]
    return Invalid(tuple(criteria), missing)


def _listed(values: Any) -> Sequence[Any]:
    return values if isinstance(values, list | tuple) else () if values is None else (values,)


def _is_pii(column: Column) -> bool:
    return column.pii or any(_is_pii(each) for each in (*column.members, *filter(None, (column.items,))))


def _with_distinct_names(checks: list[PromiseCheck]) -> list[PromiseCheck]:
    """Number the rules of one name: results are told apart by it."""
    seen: dict[str, int] = {}
    for check in checks:
        rule = check.origin.rule
        seen[rule] = seen.get(rule, 0) + 1
        if seen[rule] > 1:
            check.origin = replace(check.origin, rule=f"{rule} ({seen[rule]})")
    return checks
