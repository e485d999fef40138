"""Maintain tables on a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator, check_flags
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions


class MaintenanceOperator(PhloOperator):
    """
    Compact tables, rewrite their manifests, expire snapshots and remove orphan files.

    It is safe while writers run. What would lose data is refused before the first table is touched.

    ::

        MaintenanceOperator(task_id="maintenance", tables=["raw.*", "silver.*"], snapshot_days=14)

    :param tables: names or patterns (``raw.*``), or one of them (templated).
    :param jobs: some of ``compaction``, ``manifests``, ``expiry``, ``orphans``; all of them when None (templated).
    :param dry_run: report what would be done, and how much, without doing it.
    :param target_file_bytes: size of compacted files; the table's ``write.target-file-size-bytes`` when None.
    :param min_files: compact a partition that has this many small files.
    :param snapshot_days: expire snapshots that main left more than this many days ago; the table's
        ``history.expire.max-snapshot-age-ms`` when None, else 7.
    :param keep_last: keep this many snapshots of main, however old they are; the table's
        ``history.expire.min-snapshots-to-keep`` when None, else 10.
    :param branch_days: drop branches of failed runs after this many days.
    :param orphan_days: remove unknown files that are older than this; it has to be longer than any writer runs.
    :param force: accept days below one hour; nothing may be using the tables then.
    :param iceberg_conn_id: the catalog's connection.
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("tables", "jobs")

    def __init__(
        self,
        *,
        tables: str | Sequence[str],
        jobs: Sequence[str] | None = None,
        dry_run: bool = False,
        target_file_bytes: int | None = None,
        min_files: int = 2,
        snapshot_days: float | None = None,
        keep_last: int | None = None,
        branch_days: float = 7,
        orphan_days: float = 3,
        force: bool = False,
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_flags(dry_run=dry_run, force=force)
        self.tables = tables
        self.jobs = jobs
        self.dry_run_only = dry_run  # BaseOperator has a method dry_run
        self.target_file_bytes = target_file_bytes
        self.min_files = min_files
        self.snapshot_days = snapshot_days
        self.keep_last = keep_last
        self.branch_days = branch_days
        self.orphan_days = orphan_days
        self.force = force
        self.iceberg_conn_id = iceberg_conn_id

    def run(self, context: Context) -> dict[str, Any]:
        """
        Maintain the tables, one after the other.

        :raises ConfigurationError: a table does not exist, or a job would lose data; nothing is done then.
        :raises CommitConflictError: others changed a table in every round; the other tables are done.
        """
        from airflow_provider_phlo.exceptions import CommitConflictError
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.iceberg.maintenance import maintain

        patterns = names_of(self.tables)
        reports = maintain(
            PhloIcebergHook(self.iceberg_conn_id).catalog,
            [name if "*" in name or "?" in name else self.qualified(name) for name in patterns],
            self._options(),
            dry_run=self.dry_run_only,
        )
        for report in reports:
            self.log.info("%s: %s", report.table, report.error or report.jobs)
        errors = [report.error for report in reports if report.error]
        if errors:
            raise CommitConflictError(" ".join(errors))
        done = {"dry_run": self.dry_run_only, "tables": {report.table: report.jobs for report in reports}}
        return done if reports else {**done, NOTHING_TO_DO: f"no table matches {', '.join(patterns)}"}

    def _options(self) -> MaintenanceOptions:
        from airflow_provider_phlo.iceberg.branches.expiry import Retention
        from airflow_provider_phlo.iceberg.maintenance import JOBS, MaintenanceOptions

        return MaintenanceOptions(
            jobs=tuple(self.jobs or JOBS),
            target_file_bytes=self.target_file_bytes,
            min_files=self.min_files,
            retention=Retention(self.snapshot_days, self.keep_last, self.branch_days),
            orphan_days=self.orphan_days,
            force=self.force,
        )
