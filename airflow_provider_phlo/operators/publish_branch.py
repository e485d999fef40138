"""Make the audited branches of runs main: one table's, or those of several tables in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs
from airflow_provider_phlo.assets.iceberg import outlets_of, set_event
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator
from airflow_provider_phlo.operators.checking import audit, audit_summary, raise_for_audit
from airflow_provider_phlo.operators.counters import count_rows
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.openlineage import dataset_of_table
from airflow_provider_phlo.operators.table import REPLAYS_ANOTHER, LandingOperator, event_of, remove_expired_batches

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.quality.freshness import TablePolicy

# of tasks whose author names none
DEFAULT_OWNER = "airflow"


class PublishBranchOperator(LandingOperator):
    """
    Make an audited branch main, in one commit; merge and audit again when main has moved.

    ::

        merge = MergeOperator(task_id="merge", staged=staged.output, publish=False, table="events", unique_key="id")
        check = QualityCheckOperator(task_id="audit", table="events", checks=CHECKS, branch=BRANCH_OF_MERGE)
        publish = PublishBranchOperator(
            task_id="publish", merged=merge.output, audit=CHECKS, table="events", unique_key="id"
        )
        merge >> check >> publish

    :param merged: the result of a ``MergeOperator(publish=False)``.
    :param audit: the checks that passed on the branch.
    :param audited: what they found: the results of the tasks that ran them, for the asset event.
    :param partition_column: those checks read only rows whose value in this column is the run's partition date.
    :param audit_of_all: checks that passed on the branch too, and read all of its rows.
    :param policy: what stands with the table for those who watch it (docs/freshness.md); its cron and zone are those of
        the DAG where that has a cron, its owner and tags are the task's and the DAG's. None leaves it as it is.

    The other parameters are those of the ``MergeOperator``, and have to be the same as its.
    """

    template_fields: Sequence[str] = ("merged", "audited", "table", "unique_key")

    def __init__(
        self,
        *,
        merged: Any,
        table: str,
        audit: Sequence[Any] = (),
        audited: Sequence[Any] = (),
        partition_column: str | None = None,
        audit_of_all: Sequence[Any] = (),
        policy: TablePolicy | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", self.default_outlets({"table": table}))
        super().__init__(table=table, **kwargs)
        self.merged = merged
        self.audit = audit
        self.audited = audited
        self.partition_column = partition_column
        self.audit_of_all = audit_of_all
        self.policy = policy

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the table."""
        return outlets_of(arguments.get("table"))

    def run(self, context: Context) -> dict[str, Any]:
        """
        Publish the branch.

        :raises QualityCheckError: main had moved, and the audit of the batch on top of it failed.
        :raises CommitConflictError: main moved in every round.
        """
        from airflow_provider_phlo.ingestion import LandedBatch

        landed = LandedBatch.from_json(self.merged)
        if landed.folder is None:
            return {**landed.to_json(), NOTHING_TO_DO: REPLAYS_ANOTHER}
        catalog = self.open_catalog()
        again = partial(self._audit_again, context, catalog, landed.partition_date)
        return self.publish_landed(context, catalog, landed, again, self._policy_of(context)).to_json()

    def _policy_of(self, context: Context) -> TablePolicy | None:
        """Return the policy with what Airflow knows: when the DAG runs, whose the task is, and the DAG's tags."""
        if self.policy is None:
            return None
        freshness, scheduled = self.policy.freshness, runs.cron_and_zone(context)
        if freshness is not None and scheduled is not None:
            freshness = replace(freshness, cron=scheduled[0], zone=scheduled[1])
        owner = None if self.owner == DEFAULT_OWNER else self.owner
        tags = tuple(sorted(getattr(context.get("dag"), "tags", None) or ()))
        return replace(self.policy, freshness=freshness, owner=owner, tags=tags)

    def _audit_again(self, context: Context, catalog: Catalog, day: str, branch: str) -> None:
        """Audit the branch as it was merged on top of what main has become."""
        column, table = self.partition_column, self.qualified(self.table)
        where = {"branch": branch, "partition_column": column, "partition": day if column else None}
        results = audit(context, catalog, table, self.audit, **where)
        if self.audit_of_all:
            results += audit(context, catalog, table, self.audit_of_all, branch=branch)
        self.audited = [{"results": [result.to_dict() for result in results]}]
        raise_for_audit(results, branch)

    def audit_summary(self) -> dict[str, Any]:
        """Return how many checks passed, and which failed."""
        return audit_summary(self.audited) if self.audited else {}


class PublishTogetherOperator(PhloOperator):
    """
    Make the audited branches of several tables main in one commit, on Nessie: readers see all of them change, or none.

    When main has moved in one of the tables, all are merged and audited again.

    ::

        PublishTogetherOperator(task_id="publish", merges=[orders, lines], audits={"orders": CHECKS})

    :param merges: tasks ``MergeOperator(publish=False)`` of one catalog.
    :param audits: for each table, by the name that its merge uses, the checks that passed on the branch.
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("merged",)

    def __init__(
        self,
        *,
        merges: Sequence[LandingOperator],
        audits: Mapping[str, Sequence[Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", outlets_of(*(merge.table for merge in merges)))
        super().__init__(**kwargs)
        self.merges = merges
        self.tables = [merge.table for merge in merges]
        self.merged: Sequence[Any] = [merge.output for merge in merges]
        self.audits = audits or {}
        if len({merge.iceberg_conn_id for merge in merges}) != 1:
            raise ConfigurationError(f"{self.task_id}: only merges of one catalog can be published together.")
        unmerged = sorted(set(self.audits) - {merge.table for merge in merges})
        if unmerged:
            raise ConfigurationError(f"{self.task_id}: audits of {', '.join(unmerged)}, which no merge writes.")

    def run(self, context: Context) -> dict[str, Any]:
        """
        Publish the branches.

        :raises ConfigurationError: the catalog cannot commit several tables at once.
        :raises QualityCheckError: main had moved, and the audit of a batch on top of it failed.
        :raises CommitConflictError: main moved in every round.
        """
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.ingestion import LandedBatch, LandedTable, publish_together

        catalog, root = self.merges[0].open_catalog(), DltHook().staging_root
        merged = [LandedBatch.from_json(content) for content in self.merged]
        landed = [
            LandedTable(batch, merge.table_definition(), self._audit_of(context, catalog, merge.table))
            for merge, batch in zip(self.merges, merged, strict=True)
            if batch.folder is not None
        ]
        if not landed:
            return {"tables": [], NOTHING_TO_DO: REPLAYS_ANOTHER}
        results = publish_together(catalog, root, landed)
        for result in results:
            remove_expired_batches(root, result.table)
            set_event(context, result.table, event_of(result))
            count_rows(result.table, result.to_json())
        self.log.info("published in one commit: %s", ", ".join(result.table for result in results))
        return {"tables": [result.to_json() for result in results]}

    def work(self) -> Work:
        """Return the tables, and how many rows of each were written."""
        from airflow_provider_phlo.catalogs.openlineage.work import Counts, Work, Written

        done = {each["table"]: each for each in (self.result or {}).get("tables", ())}
        return Work(
            written=tuple(
                Written(
                    dataset_of_table(name),
                    name,
                    counts=Counts.of_merge(done.get(name, {})),
                    snapshot_id=done.get(name, {}).get("snapshot_id"),
                )
                for name in map(self.qualified, self.tables)
            )
        )

    def _audit_of(self, context: Context, catalog: Catalog, table: str) -> Callable[[str], None]:
        checks, identifier = self.audits.get(table, ()), self.qualified(table)
        return lambda branch: raise_for_audit(audit(context, catalog, identifier, checks, branch=branch), branch)
