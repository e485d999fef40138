"""Transform what was read of pull requests, and put it into the stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs
from airflow_provider_phlo.exceptions import AccountingError
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.operators.table import remove_expired_batches

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_provider_phlo.ingestion import StagedSummary


class StagePullRequestsOperator(PhloOperator):
    """
    Put what a plan's chunks have brought into the stage: one batch of Parquet files per organisation.

    ::

        StagePullRequestsOperator(task_id="stage", plan=plan.output["plan"], readings=read.output)

    Records that were set aside are published to the quarantine of their table.

    :param plan: the XCom ``plan`` of the task that planned (templated).
    :param readings: the results of the tasks that read (templated).
    :param prefix: the folder in the stage.
    :param iceberg_conn_id: the catalog that has the quarantine.
    """

    template_fields: Sequence[str] = ("plan", "readings", "prefix")

    def __init__(
        self,
        *,
        plan: Any,
        readings: Any,
        prefix: str = "github",
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.readings = readings
        self.prefix = prefix
        self.iceberg_conn_id = iceberg_conn_id

    def run(self, context: Context) -> dict[str, Any]:
        """
        Stage the readings.

        :returns: ``batches`` (names; an XCom of its own, too), ``rows`` per entity, ``quarantined``, and of what could
            not be read ``left_out`` (some, and why) and ``left_out_count``.
        :raises AccountingError: a pull request that was planned was neither read, nor set aside, nor left out.
        :raises ConfigurationError: the files of the run are gone.
        """
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.hooks.warehouse import open_stage
        from airflow_provider_phlo.ingestion import StagedSummary
        from airflow_provider_phlo.sources.github_pulls.reading import left_out
        from airflow_provider_phlo.sources.github_pulls.staging import stage_readings

        if self.plan["from_stage"]:
            return self._staged_before(context)
        root = DltHook().staging_root
        # by number: to iterate over XComs of mapped tasks logs an error at the end
        found = self.readings or ()
        read = [StagedSummary.from_json(found[index]) for index in range(len(found)) if found[index]]
        missed = left_out(root, self.plan["folder"])
        self._require_all(read, len(missed))
        staged = stage_readings(
            open_stage(self.prefix),
            self._rows(root, read),
            self.plan["organizations"],
            date=runs.partition_date(context),
            token=runs.token(context, self.prefix),
        )
        result: dict[str, Any] = {
            "batches": staged.batches,
            "rows": staged.rows,
            "quarantined": sum(each.quarantined for each in read),
            "left_out": self.plan["left_out"] + _named(missed),
            "left_out_count": self.plan["left_out_count"] + len(missed),
        }
        for table in {each.table for each in read}:
            remove_expired_batches(root, table)  # nothing else does: they are merged into no table
        self.log.info("staged %s", result)
        context["ti"].xcom_push(key="batches", value=staged.batches)
        return result

    def _staged_before(self, context: Context) -> dict[str, Any]:
        """Return what is staged of the organisations; if the run's conf names a day, from that day on."""
        from airflow_provider_phlo.hooks.warehouse import open_stage

        day = (context["dag_run"].conf or {}).get("partition_date")
        found = [batch.name for batch in open_stage(self.prefix).batches(self.plan["organizations"], day)]
        context["ti"].xcom_push(key="batches", value=found)
        return {"batches": found}

    def _require_all(self, read: Iterable[StagedSummary], left_out: int) -> None:
        records = sum(each.read for each in read)
        if records + left_out != self.plan["pull_requests"]:
            raise AccountingError(
                f"{self.plan['pull_requests']} pull requests were listed, {records} were read and {left_out} left out: "
                "clear the run to read again."
            )

    def _rows(self, root: Any, read: Iterable[StagedSummary]) -> Iterator[pa.Table]:
        """Yield the rows of each chunk; its bad ones go to the quarantine."""
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.ingestion import quarantine, staged_batches

        for each in read:
            if each.folder is None:
                continue
            batch = staged_batches.load(root, each.folder)
            if batch.rejected_files:
                quarantine.add_rejected(PhloIcebergHook(self.iceberg_conn_id).catalog, root, batch)
            yield from staged_batches.StagedRows(root, batch)


def _named(missed: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return some of the pull requests that could not be read; all are in the logs of the tasks that read."""
    return [
        {"repository": f"{each['full_name']}#{each['number']}", "reason": each["left_out"]} for each in missed[:100]
    ]
