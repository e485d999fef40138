"""
A merge that is prepared and not yet done: its rows in a staging table, its plan in that table's properties.

An engine that cannot write branches (Trino) leaves one of these where the embedded engine leaves a branch. It is
visible to nobody who reads the table itself; an audit reads the table as the merge would leave it (see
:mod:`airflow_provider_phlo.iceberg.trino.preview`).

Whoever wants to run the merge, or to drop it, claims it first: by a tag of the staging table that only one can set.
So no attempt of a run drops what another one has already started.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID, SetPropertiesUpdate, SetSnapshotRefUpdate

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.files.writing import write_files
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.tables.creation import TABLE_PROPERTIES
from airflow_provider_phlo.iceberg.tables.evolution import fit
from airflow_provider_phlo.iceberg.tables.lookup import STAGING, find_table, staging_name
from airflow_provider_phlo.iceberg.trino.sql import ROW, MergeSql
from airflow_provider_phlo.sql import quote
from airflow_provider_phlo.terms import PartitionDate, SnapshotId, Token

# properties of the staging table, and the tag that only one attempt can set
INTENT, CLAIM, CLAIMED = "phlo.intent", "phlo.claim", "claimed"
INTENT_VERSION, CLAIM_VERSION = 1, 1


@dataclass(frozen=True)
class Claim:
    """
    Who has claimed a staged merge, and what for.

    :param query: the query that runs the merge; None: the staged rows are thrown away.
    :param result: what the run returns once the merge is committed.
    :param properties: the table properties to be set then.
    """

    query: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the claim as JSON text."""
        return json.dumps({**asdict(self), VERSION_FIELD: CLAIM_VERSION}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Claim:
        """
        Return the claim that :meth:`to_json` wrote.

        :raises ConfigurationError: if a newer release wrote it.
        """
        content = json.loads(text)
        require_known_version(content, CLAIM_VERSION, "The claim of a staged merge")
        content.pop(VERSION_FIELD, None)
        return cls(**content)


@dataclass(frozen=True)
class Intent:
    """
    What is to be done with the staged rows.

    :param head: main's snapshot on which the merge was planned, and the only one it may be done on.
    :param since: an older snapshot: what earlier attempts have committed can only come after it.
    :param former: their claims.
    :param duplicates: whether rows of the table share a key of the batch.
    """

    token: Token
    plan: MergePlan
    head: SnapshotId | None
    since: SnapshotId | None
    partition_date: PartitionDate | None = None
    former: tuple[Claim, ...] = ()
    duplicates: bool = False
    staged_at: float = field(default_factory=time.time)

    def to_json(self) -> str:
        """Return the intent as JSON text."""
        return json.dumps({**asdict(self), VERSION_FIELD: INTENT_VERSION}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Intent:
        """
        Return the intent that :meth:`to_json` wrote.

        :raises ConfigurationError: if a newer release wrote it.
        """
        content = json.loads(text)
        require_known_version(content, INTENT_VERSION, "The intent of a staged merge")
        content.pop(VERSION_FIELD, None)
        content.pop("compare_columns", None)  # of merges staged while stored hashes still counted
        plan = {**content["plan"], "key": tuple(content["plan"]["key"])}
        former = tuple(Claim(**claim) for claim in content["former"])
        return cls(**{**content, "plan": MergePlan(**plan), "former": former})


class StagedMerge:
    """A staging table and what it is for."""

    def __init__(self, identifier: str, table: Table) -> None:
        self.identifier = identifier
        self.table = table

    @property
    def name(self) -> str:
        """Return ``namespace.table`` of the staging table."""
        return ".".join(self.table.name())

    @cached_property
    def intent(self) -> Intent:
        """What is to be done with the rows."""
        return Intent.from_json(self.table.properties[INTENT])

    @property
    def claim(self) -> Claim | None:
        """Who has claimed it, as of when it was loaded."""
        text = self.table.properties.get(CLAIM)
        return Claim.from_json(text) if text else None

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Return the claims of all queries that may have committed this run's merge, the newest first."""
        own = self.claim
        return (own, *self.intent.former) if own and own.query else self.intent.former

    def sql(self, target: Table) -> MergeSql:
        """Return the statements of the merge into ``target``."""
        intent = self.intent
        return MergeSql.of(
            target,
            quote(self.identifier),
            quote(self.name),
            intent.plan,
            day=intent.partition_date,
        )

    def set_claim(self, catalog: Catalog, claim: Claim) -> None:
        """
        Claim the merge, for one attempt only.

        :raises CommitConflictError: if another attempt has claimed, dropped or replaced it.
        """
        snapshot = self.table.metadata.current_snapshot_id
        assert snapshot is not None  # it was created with its rows
        tag = SetSnapshotRefUpdate(
            ref_name=CLAIMED,
            type=SnapshotRefType.TAG,
            snapshot_id=snapshot,
            max_ref_age_ms=None,
            max_snapshot_age_ms=None,
            min_snapshots_to_keep=None,
        )
        only_one = (
            AssertTableUUID(uuid=self.table.metadata.table_uuid),
            AssertRefSnapshotId(ref=CLAIMED, snapshot_id=None),
        )
        try:
            catalog.commit_table(self.table, only_one, (tag, SetPropertiesUpdate(updates={CLAIM: claim.to_json()})))
        except (CommitFailedException, NoSuchTableError) as error:
            raise CommitConflictError(
                f"{self.identifier}: another attempt of run {self.intent.token} has taken over."
            ) from error

    def drop(self, catalog: Catalog) -> None:
        """Remove the staging table with its files; one that is gone is fine."""
        try:
            catalog.purge_table(self.name)
        except NoSuchTableError:
            return


def find(catalog: Catalog, identifier: str, token: Token) -> StagedMerge | None:
    """Return what the run with ``token`` has staged for a table, or None."""
    table = find_table(catalog, staging_name(identifier, token))
    return StagedMerge(identifier, table) if table is not None and INTENT in table.properties else None


def find_by_branch(catalog: Catalog, identifier: str, branch: str) -> StagedMerge | None:
    """Return the staged merge that stands for ``branch``, or None."""
    prefix = branches.branch_name("")
    return find(catalog, identifier, branch.removeprefix(prefix)) if branch.startswith(prefix) else None


def find_all(catalog: Catalog, identifier: str) -> Iterator[StagedMerge]:
    """Return the staged merges of a table, whichever run they are of."""
    namespace = identifier.rpartition(".")[0]
    for name in catalog.list_tables(namespace):
        match = STAGING.fullmatch(".".join(name))
        staged = find(catalog, identifier, match["token"]) if match and match["table"] == identifier else None
        if staged is not None:
            yield staged


def stage(catalog: Catalog, target: Table, rows: pa.Table, intent: Intent) -> StagedMerge:
    """
    Write ``rows`` and ``intent`` as a staging table, in one commit.

    :raises CommitConflictError: if another attempt of the run has just done so.
    """
    identifier = ".".join(target.name())
    numbered = rows.append_column(ROW, pa.array(range(len(rows)), pa.int64()))
    name = staging_name(identifier, intent.token)
    try:
        transaction = catalog.create_table_transaction(
            name, numbered.schema, properties={**TABLE_PROPERTIES, INTENT: intent.to_json()}
        )
        _append(transaction, numbered)
        transaction.commit_transaction()
    except (TableAlreadyExistsError, CommitFailedException) as error:
        raise CommitConflictError(f"{identifier}: another attempt of run {intent.token} stages rows.") from error
    return StagedMerge(identifier, catalog.load_table(name))


def _append(transaction: Transaction, rows: pa.Table) -> None:
    """Append rows to a table that is not there yet; PyIceberg's own append makes an empty list of structs of NULL."""
    begun = transaction._table
    table = Table(begun.name(), transaction.table_metadata, begun.metadata_location, begun.io, begun.catalog)
    producer = transaction.update_snapshot().fast_append()
    for file in write_files(table, (part for part in (fit(rows, table),)), "staged"):
        producer.append_data_file(file)
    producer.commit()


def note_duplicates(catalog: Catalog, staged: StagedMerge) -> StagedMerge:
    """Store with the staged rows that rows of the table share a key of the batch; return them loaded again."""
    updates = (SetPropertiesUpdate(updates={INTENT: replace(staged.intent, duplicates=True).to_json()}),)

    def attempt() -> StagedMerge:
        catalog.commit_table(staged.table, (AssertTableUUID(uuid=staged.table.metadata.table_uuid),), updates)
        return StagedMerge(staged.identifier, catalog.load_table(staged.name))

    return retry_commit(attempt, staged.name)
