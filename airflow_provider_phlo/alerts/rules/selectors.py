"""Which incidents a rule, a route or quiet hours are about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_phlo.alerts.rules.verdicts import RunRef, Severity

#: What makes a text more than one name.
WILDCARDS = re.compile(r"[*?]")


class Selectable(Protocol):
    """What selectors look at: a verdict, or an incident."""

    @property
    def table(self) -> str | None:
        """Its table."""

    @property
    def subject(self) -> str:
        """Its check, contract, task or rule."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""

    @property
    def group(self) -> str | None:
        """Its table's group."""

    @property
    def owner(self) -> str | None:
        """Who owns its table."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of its table."""

    @property
    def run(self) -> RunRef | None:
        """The run that it is about."""


class Selectors(BaseModel):
    """Selectors: each that is given has to fit; of its values, one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: list[str] = Field([], description="Tables, with * and ?: raw.*")
    subjects: list[str] = Field([], description="Checks, contracts or tasks, with * and ?")
    dags: list[str] = Field([], description="DAGs, with * and ?")
    groups: list[str] = Field([], description="Groups of tables")
    tags: list[str] = Field([], description="Tags of tables")
    owners: list[str] = Field([], description="Owners of tables")
    severities: list[Severity] = Field([], description="error, warn")

    def select(self, thing: Selectable) -> bool:
        """Return whether these selectors are about a thing."""
        return (
            _fits(self.tables, thing.table)
            and _fits(self.subjects, thing.subject)
            and _fits(self.dags, thing.run.dag_id if thing.run else None)
            and _has(self.groups, (thing.group,))
            and _has(self.tags, thing.tags)
            and _has(self.owners, (thing.owner,))
            and _has(self.severities, (thing.severity,))
        )

    @property
    def selects_all(self) -> bool:
        """Return whether there is no selector."""
        return not any(getattr(self, name) for name in Selectors.model_fields)

    @property
    def asks_for_policies(self) -> bool:
        """Return whether it has to be known to whom tables belong."""
        return bool(self.groups or self.tags or self.owners)


def fits(pattern: str, name: str | None) -> bool:
    """Return whether a name fits a pattern with * and ?; brackets are part of names."""
    return name is not None and fnmatchcase(name, pattern.replace("[", "[[]"))


def _fits(patterns: list[str], name: str | None) -> bool:
    return not patterns or any(fits(pattern, name) for pattern in patterns)


def _has(wanted: Iterable[str], found: Iterable[str | None]) -> bool:
    return not wanted or bool(set(wanted).intersection(found))
