"""
A run's own branch, whatever the catalog can do: what it writes to, what its audit reads, how that becomes main.

Iceberg catalogs have branches of single tables. Nessie has branches of the whole catalog, and takes no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TransientError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.branches.run_branches import Head
from airflow_provider_phlo.iceberg.branches.upkeep import upkeep_of
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement
from airflow_provider_phlo.terms import MAIN_BRANCH, SnapshotId, Token


@dataclass(frozen=True)
class Publication:
    """
    What is published of one table, and what is stored with it.

    :param identifier: ``namespace.table``.
    :param token: the run's token; stored with ``result`` as the mark that makes a retry a no-op.
    :param result: what the run returns, a small JSON object.
    :param properties: table properties to set in the same commit (the dlt state).
    :param expected_head: the snapshot that was audited; the branch must still point there. None: that of an
        empty table.
    :param settlement: what becomes of the table's columns in the same commit.
    """

    identifier: str
    token: Token | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    expected_head: SnapshotId | Literal[Head.ANY] | None = Head.ANY
    settlement: Settlement = AS_THEY_ARE


class RunBranch(Protocol):
    """
    A branch of one run.

    :param name: as checks, dbt and people call it.
    """

    name: str

    @property
    def target(self) -> Catalog:
        """Return the catalog that the run writes to."""

    @property
    def ref(self) -> str:
        """Return the branch of the table there."""

    def start(self, identifier: str) -> None:
        """Start from main to write a table, dropping what an earlier attempt left."""

    def publish(self, publication: Publication) -> SnapshotId | None:
        """
        Make the branch main and remove it; again, for a run that has published already, only remove it.

        :returns: main's snapshot id afterwards, None for a table that is still empty.
        :raises CommitConflictError: main has moved, or another attempt moved the branch: write and audit again.
        """

    def drop(self, identifier: str) -> None:
        """Remove the branch; one that does not exist is fine."""


def run_branch(catalog: Catalog, name: str) -> RunBranch:
    """Return the branch ``name`` of the kind that the catalog has."""
    return CatalogBranch(catalog, name) if nessie.is_nessie(catalog) else TableBranch(catalog, name)


@dataclass
class TableBranch:
    """A branch of one table; :func:`branches.create` makes it once the table is there."""

    catalog: Catalog
    name: str

    @property
    def target(self) -> Catalog:
        return self.catalog

    @property
    def ref(self) -> str:
        return self.name

    def start(self, identifier: str) -> None:
        """Leave it to the first write: there may be no table yet."""

    def publish(self, publication: Publication) -> SnapshotId | None:
        return branches.move_main(
            self.catalog,
            publication.identifier,
            self.name,
            token=publication.token,
            result=publication.result,
            properties=publication.properties,
            expected_head=publication.expected_head,
            settlement=publication.settlement,
            upkeep=upkeep_of(self.catalog),
        )

    def drop(self, identifier: str) -> None:
        branches.drop(self.catalog, identifier, self.name)


@dataclass
class CatalogBranch:
    """A branch of a whole Nessie catalog."""

    catalog: Catalog
    name: str
    ref: str = MAIN_BRANCH

    @cached_property
    def target(self) -> Catalog:
        return nessie.at(self.catalog, self.name)

    def start(self, identifier: str) -> None:
        # on main, so that branches have a common ancestor, and new tables of one namespace no conflict
        ensure_namespace(self.catalog, identifier.rpartition(".")[0])
        nessie.create(self.catalog, self.name)

    def publish(self, publication: Publication) -> SnapshotId | None:
        publish_together(self.catalog, [(self.name, publication)])
        return branch_head(self.catalog.load_table(publication.identifier))

    def drop(self, identifier: str) -> None:
        nessie.drop(self.catalog, self.name)

    def seal(self, publication: Publication) -> str:
        """Store mark and properties beside the data, and return the commit that holds all of it."""
        if nessie.head_commit(self.catalog, self.name) is None:
            raise CommitConflictError(f"Branch {self.name} of {publication.identifier} no longer exists.")
        branches.move_main(
            self.target,
            publication.identifier,
            self.name,  # no table has a branch of its own here: only the properties are set
            token=publication.token,
            result=publication.result,
            properties=publication.properties,
            settlement=publication.settlement,
        )
        table = self.target.load_table(publication.identifier)
        if branch_head(table) != publication.expected_head:
            raise CommitConflictError(
                f"Branch {self.name} no longer shows the audited snapshot of {publication.identifier}."
            )
        return nessie.commit_of(table)


def publish_together(catalog: Catalog, publications: Sequence[tuple[str, Publication]]) -> None:
    """
    Make the branches of several runs main in one commit: readers see all of the tables change, or none.

    :param publications: what to publish, each with the name of its branch.
    :raises ConfigurationError: the catalog is not a Nessie catalog: no other commits several tables at once.
    :raises CommitConflictError: main has moved, or another attempt moved a branch: write and audit again.
    """
    if not nessie.is_nessie(catalog):
        raise ConfigurationError(
            f"Catalog {catalog.name!r} is not a Nessie catalog, and no other publishes several tables in one "
            "commit: publish each by itself."
        )
    waiting = [(name, publication) for name, publication in publications if not is_published(catalog, publication)]
    if waiting:
        try:
            _merge(catalog, waiting)
        except TransientError as error:
            # the answer may be lost, not the merge; it was all or nothing
            if isinstance(error, CommitConflictError) or not is_published(catalog, waiting[-1][1]):
                raise
    for name, _ in publications:
        nessie.drop(catalog, name)


def is_published(catalog: Catalog, publication: Publication) -> bool:
    """Return whether main has the mark of the run."""
    if publication.token is None:
        return False
    try:
        table = catalog.load_table(publication.identifier)
    except NoSuchTableError:
        return False
    return find_published_result(table, publication.token) is not None


def _merge(catalog: Catalog, publications: Sequence[tuple[str, Publication]]) -> None:
    commits = {name: CatalogBranch(catalog, name).seal(publication) for name, publication in publications}
    message = f"phlo: publish {', '.join(publication.identifier for _, publication in publications)}"
    if len(commits) == 1:
        [(name, commit)] = commits.items()
        nessie.merge(catalog, name, commit, message=message)
        return
    joint = f"{publications[0][0]}_together"
    nessie.create(catalog, joint)
    for name, commit in commits.items():
        nessie.merge(catalog, name, commit, message=f"phlo: collect {name}", into=joint)
    collected = nessie.head_commit(catalog, joint)
    nessie.merge(catalog, joint, str(collected), message=message)
    nessie.drop(catalog, joint)
