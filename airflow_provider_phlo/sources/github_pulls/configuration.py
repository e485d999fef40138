"""What a run that reads pull requests is to do, as its author or its ``--conf`` says, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError

# what conf may hold besides: every run of this package understands these
_OF_EVERY_RUN = frozenset({"partition_date", "phlo_replay"})
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)
_SINCE = 'a date ("2026-03-01": midnight in UTC) or a time with its offset from UTC ("2026-03-01T09:00:00+01:00")'


@dataclass(frozen=True)
class PullRequestsConfiguration:
    """
    What to read, and how much of GitHub's limits to use.

    :param organizations: logins of organisations and users, each once, whatever its case.
    :param since: read what was updated at this time or later; None: since the last reading of each repository.
    :param from_stage: load what is staged already, and ask GitHub nothing.
    :param concurrency: requests at a time, per task.
    :param parallel_tasks: tasks that read at the same time: the DAG's to say, not a run's.
    :param requests_per_minute: of all tasks together; GitHub's own limit is 900.
    :param max_chunks: tasks that read, in all; each organisation has at least one.
    :param chunk_size: pull requests per task, roughly; more where that would need too many tasks, fewer where it would
        leave some without work.
    """

    organizations: tuple[str, ...]
    since: datetime | None = None
    from_stage: bool = False
    concurrency: int = 4
    parallel_tasks: int = 4
    requests_per_minute: int = 900
    max_chunks: int = 24
    chunk_size: int = 250


def configuration(
    values: Mapping[str, Any], *, parallel_tasks: int = 4, now: datetime | None = None
) -> PullRequestsConfiguration:
    """
    Return what ``values`` say, the parameters of a run with its conf.

    :param parallel_tasks: tasks that read at the same time, which share the requests per minute.
    :param now: the time that ``since`` cannot be after; the clock's when None.
    :raises ConfigurationError: a value is not of its type, makes no sense or has no effect, or nobody knows its name.
    """
    known = {field.name for field in fields(PullRequestsConfiguration)} - {"parallel_tasks"}
    unknown = sorted(set(values) - known - _OF_EVERY_RUN)
    if unknown:
        raise ConfigurationError(
            f"pull requests: unknown parameter {', '.join(map(repr, unknown))}: a run takes "
            f"{', '.join(sorted(known | _OF_EVERY_RUN))}."
        )
    numbers = {name: _number(name, values[name]) for name in _MOST if values.get(name) is not None}
    since, from_stage = (
        _since(values.get("since"), now or datetime.now(UTC)),
        _flag("from_stage", values.get("from_stage")),
    )
    if from_stage and since is not None:
        raise ConfigurationError(
            "pull requests: since is what GitHub is asked for, and from_stage asks it nothing: give the day from which "
            'on batches are loaded as partition_date, as in {"from_stage": true, "partition_date": "2026-11-01"}.'
        )
    return PullRequestsConfiguration(
        organizations=_organizations(values.get("organizations")),
        since=since,
        from_stage=from_stage,
        parallel_tasks=parallel_tasks,
        **numbers,
    )


_MOST = {
    "concurrency": 50,
    "requests_per_minute": 10_000_000,
    "max_chunks": 1000,
    "chunk_size": 100_000,
}


def _number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST[name]:
        raise ConfigurationError(
            f"pull requests: {name} = {value!r:.80}: give a whole number from 1 to {_MOST[name]:,}."
        )
    return value


def _flag(name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ConfigurationError(f"pull requests: {name} = {value!r:.80}: give true or false.")
    return bool(value)


def _organizations(value: Any) -> tuple[str, ...]:
    example = 'as in {"organizations": ["octo-org"]}'
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigurationError(
            f"pull requests: organizations = {value!r:.80}: give a list of logins of organisations or users, "
            f"{example}, in the run's conf or in the extra of the connection."
        )
    found: dict[str, str] = {}
    for number, login in enumerate(value, 1):
        if not isinstance(login, str) or not _LOGIN.fullmatch(login.strip()):
            raise ConfigurationError(
                f"pull requests: organizations, entry {number}: {login!r:.80} is not a login, which has letters, "
                f"digits and hyphens, {example}."
            )
        found.setdefault(login.strip().lower(), login.strip())
    return tuple(found.values())


def _since(value: Any, now: datetime) -> datetime | None:
    if value is None or value == "":
        return None
    moment = _moment(value)
    if moment > now:
        raise ConfigurationError(f"pull requests: since = {value!s:.80} lies in the future, where nothing is.")
    return moment


def _moment(value: Any) -> datetime:
    """Return a date or time in UTC. No zone but UTC is guessed: an hour is missing or double where clocks change."""
    problem = f"give {_SINCE}"
    try:
        if isinstance(value, str):
            if _DAY.fullmatch(value.strip()):
                value = date.fromisoformat(value.strip())
            elif _MOMENT.fullmatch(value.strip()):
                value = datetime.fromisoformat(value.strip().upper())
        if isinstance(value, datetime):
            if value.tzinfo is not None:
                return value.astimezone(UTC)
            problem = f"it has no offset from UTC: {problem}"
        elif isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
    except (ValueError, OverflowError):
        problem = f"there is no such time: {problem}"
    raise ConfigurationError(f"pull requests: since = {str(value)!r:.80}: {problem}.")
