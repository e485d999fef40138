"""
What differs between two versions of a contract, as those who rely on it see it.

A change breaks readers when they can rely on less than before: a column is gone, has another type, may be NULL, may
have values that it could not have, or a rule or service level is weaker. What is new, or stricter, breaks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_phlo.contracts.model.contract import Bounds, Column, Contract, Promise, Rule, ServiceLevel
from airflow_provider_phlo.contracts.model.durations import comparable
from airflow_provider_phlo.contracts.model.patterns import same_pattern
from airflow_provider_phlo.contracts.versions import Step, parse_version, step_between

# a greater value is a weaker promise
_LESS_IS_MORE = frozenset({"freshness", "latency", "frequency", "timeofavailability", "timetodetect", "timetorepair"})


@dataclass(frozen=True)
class Change:
    """
    One difference.

    :param column: with dots for members; empty for the table or contract as a whole.
    :param what: ``column``, ``type``, ``required``, ``values`` and so on.
    :param step: what part of the version has to grow for it.
    """

    table: str
    column: str
    what: str
    old: Any
    new: Any
    step: Step


def compare(old: Contract, new: Contract) -> list[Change]:
    """Return what differs, in the order of the contract."""
    found = list(_texts("", "", (old.description, old.status), (new.description, new.status)))
    before, after = ({promise.table: promise for promise in each.promises} for each in (old, new))
    for table, promise in before.items():
        if table in after:
            found += _promise(promise, after[table])
        else:
            found.append(Change(table, "", "table", table, None, Step.MAJOR))
    found += [Change(table, "", "table", None, table, Step.MINOR) for table in after if table not in before]
    found += _service_levels(old.service_levels, new.service_levels)
    found += [Change("", "", "not judged", each, None, Step.MAJOR) for each in old.unjudged if each not in new.unjudged]
    found += [Change("", "", "not judged", None, each, Step.MINOR) for each in new.unjudged if each not in old.unjudged]
    if old.owner != new.owner:
        found.append(Change("", "", "owner", old.owner or None, new.owner or None, Step.PATCH))
    return found


def problem_of_version(old: Contract, new: Contract, changes: Sequence[Change]) -> str:
    """Return why the new version does not say what has changed; empty if it does."""
    needed = max((change.step for change in changes), default=Step.NONE)
    before, after = parse_version(old.version), parse_version(new.version)
    if before is None or after is None:
        if needed is Step.MAJOR:
            wrong = new.version if after is None else old.version
            return f"it breaks its readers, and {wrong} is not a semantic version that could say so: write 2.0.0"
        return ""
    if after < before:
        return f"version {new.version} comes before {old.version}"
    if step_between(before, after) >= needed:
        return ""
    if needed is Step.MAJOR:
        first = replace(before, major=before.major + 1) if before.major else replace(before, minor=before.minor + 1)
        least = f"{first.major}.{first.minor if not before.major else 0}.0"
        return f"it breaks its readers: {old.version} has to become {least} or later, not {new.version}"
    word = "it promises more" if needed is Step.MINOR else "its texts differ"
    return f"{word}: {old.version} has to grow, and it is {new.version}"


def _promise(old: Promise, new: Promise) -> Iterator[Change]:
    table = old.table
    yield from _texts(table, "", (old.description,), (new.description,))
    yield from _columns(table, "", old.columns, new.columns)
    if old.primary_key != new.primary_key:
        step = Step.MAJOR if old.primary_key else Step.MINOR
        yield Change(table, "", "primary key", old.primary_key or None, new.primary_key or None, step)
    if old.partitioned_by != new.partitioned_by:
        yield Change(table, "", "partitioning", old.partitioned_by or None, new.partitioned_by or None, Step.MINOR)
    yield from _rules(table, "", old.rules, new.rules)


def _columns(table: str, above: str, old: Sequence[Column], new: Sequence[Column]) -> Iterator[Change]:
    after = {column.name: column for column in new}
    before = {column.name: column for column in old}
    for name, column in before.items():
        path = f"{above}{name}"
        if name in after:
            yield from _column(table, path, column, after[name])
        else:
            yield Change(table, path, "column", name, None, Step.MAJOR)
    for name in after:
        if name not in before:
            yield Change(table, f"{above}{name}", "column", None, name, Step.MINOR)


def _column(table: str, path: str, old: Column, new: Column) -> Iterator[Change]:
    def changed(what: str, was: Any, now: Any, weaker: bool) -> Change:
        return Change(table, path, what, was, now, Step.MAJOR if weaker else Step.MINOR)

    if old.type != new.type:
        yield changed("type", old.type and old.type.text, new.type and new.type.text, _is_other_type(old, new))
    for what, name in (("required", "required"), ("unique", "unique"), ("distinct items", "distinct_items")):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            yield changed(what, was, now, weaker=was)
    for what in ("values", "lengths"):
        was, now = getattr(old, what), getattr(new, what)
        if was != now:
            yield changed(what, was.words() or None, now.words() or None, weaker=_is_wider(was, now))
    if same_pattern(old.pattern) != same_pattern(new.pattern):
        yield changed("pattern", old.pattern, new.pattern, weaker=old.pattern is not None)
    if old.allowed != new.allowed:
        more = new.allowed is None or (old.allowed is not None and not set(new.allowed) <= set(old.allowed))
        yield changed("allowed values", old.allowed, new.allowed, weaker=old.allowed is not None and more)
    yield from _rules(table, path, old.rules, new.rules)
    yield from _columns(table, f"{path}.", old.members, new.members)
    yield from _columns(table, path, *(tuple(filter(None, (each.items,))) for each in (old, new)))
    texts = ((each.description, each.classification, each.pii, each.tags) for each in (old, new))
    yield from _texts(table, path, *texts)


def _is_other_type(old: Column, new: Column) -> bool:
    """Return whether readers of the old type cannot read all of the new one."""
    if old.type is None:
        return False
    return new.type is None or not new.type.is_within(old.type)


def _is_wider(old: Bounds, new: Bounds) -> bool:
    """Return whether there are values within ``new`` that were not within ``old``."""
    return _is_beyond(old.low, old.exclusive_low, new.low, new.exclusive_low, lambda a, b: a < b) or _is_beyond(
        old.high, old.exclusive_high, new.high, new.exclusive_high, lambda a, b: a > b
    )


def _is_beyond(was: Any, was_out: bool, now: Any, now_out: bool, beyond: Callable[[Any, Any], bool]) -> bool:
    if was is None:
        return False
    if now is None:
        return True
    try:
        return bool(beyond(now, was)) or (now == was and was_out and not now_out)
    except TypeError:  # a number and a date: another promise altogether
        return True


def _rules(table: str, column: str, old: Sequence[Rule], new: Sequence[Rule]) -> Iterator[Change]:
    """A rule that is gone, or says something else, may be weaker; which of two is, is not judged."""
    said_before, said_now = ([_without_name(rule) for rule in rules] for rules in (old, new))
    for rule, said in zip(old, said_before, strict=True):
        if said not in said_now:
            yield Change(table, column, "rule", rule.name, None, Step.MAJOR if rule.severity == "error" else Step.MINOR)
    for rule, said in zip(new, said_now, strict=True):
        if said not in said_before:
            yield Change(table, column, "rule", None, rule.name, Step.MINOR)


def _without_name(rule: Rule) -> Rule:
    return replace(rule, name="", description="", id="")


def _service_levels(old: Sequence[ServiceLevel], new: Sequence[ServiceLevel]) -> Iterator[Change]:
    before, after = ({(level.property.lower(), level.element): level for level in levels} for levels in (old, new))
    for key, level in before.items():
        now = after.get(key)
        if now is None:
            yield Change("", key[1] or "", level.property, _amount(level), None, Step.MAJOR)
        elif comparable(level) != comparable(now):
            step = Step.MAJOR if _is_weaker(level, now) else Step.MINOR
            yield Change("", key[1] or "", level.property, _amount(level), _amount(now), step)
    for key, level in after.items():
        if key not in before:
            yield Change("", key[1] or "", level.property, None, _amount(level), Step.MINOR)


def _amount(level: ServiceLevel) -> str:
    return f"{level.value} {level.unit}".rstrip()


def _is_weaker(old: ServiceLevel, new: ServiceLevel) -> bool:
    was, now = (level.value if level.unit == "share" else comparable(level) for level in (old, new))
    if not (isinstance(was, int | float) and isinstance(now, int | float)):
        return True  # which of two texts promises more is for people
    return now > was if old.property.lower() in _LESS_IS_MORE else now < was


def _texts(table: str, column: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[Change]:
    if old != new:
        yield Change(table, column, "description", None, None, Step.PATCH)
