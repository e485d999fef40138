"""Bring OpenMetadata up to date on a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator, check_flags
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.catalogs.openmetadata.described import CatalogFacts
    from airflow_provider_phlo.catalogs.openmetadata.sync import Wanted


class CatalogSyncOperator(PhloOperator):
    """
    Send to OpenMetadata what it does not have yet of the catalog; what people have written there stays.

    ::

        CatalogSyncOperator(task_id="sync", quality_checks=True, contracts=True, dbt_projects=["include/dbt"])

    What cannot be read or is refused of one table keeps no other back; the task then fails, and a retry goes on.

    :param tables: names or patterns (``raw.*``), or one of them; all when empty (templated).
    :param schema: only tables of this namespace (templated).
    :param quality_checks: send checks too, and what they have found the last time.
    :param contracts: send the contracts of ``include/contracts`` too.
    :param dbt_projects: folders of dbt projects whose lineage is sent, relative ones below the project's folder. That
        of other tasks is sent by ``phlo catalog sync --lineage``, which reads DAG files.
    :param service: what the service is called there; the catalog's name when None.
    :param folder: the project's; None means ``[phlo] project_folder``, else the parent of the folder of DAG files.
    :param openmetadata_conn_id: the connection whose password is the token.
    :param iceberg_conn_id: the catalog's connection.
    """

    template_fields: Sequence[str] = ("tables", "schema")

    def __init__(
        self,
        *,
        tables: str | Sequence[str] = (),
        schema: str | None = None,
        quality_checks: bool = False,
        contracts: bool = False,
        dbt_projects: Sequence[str] = (),
        service: str | None = None,
        folder: str | None = None,
        openmetadata_conn_id: str = "openmetadata_default",
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_flags(quality_checks=quality_checks, contracts=contracts)
        self.tables = tables
        self.schema = schema
        self.quality_checks = quality_checks
        self.contracts = contracts
        self.dbt_projects = dbt_projects
        self.service = service
        self.folder = folder
        self.openmetadata_conn_id = openmetadata_conn_id
        self.iceberg_conn_id = iceberg_conn_id

    def run(self, context: Context) -> dict[str, Any]:
        """
        Send what differs.

        :raises ConfigurationError: nothing says where OpenMetadata is, it is too old, or does not accept the token.
        :raises TransientError: it does not answer, or something could not be read or sent.
        """
        from airflow_provider_phlo.catalogs.openmetadata.sync import Wanted, sync_catalog
        from airflow_provider_phlo.hooks.openmetadata import openmetadata_server

        server = openmetadata_server(self.openmetadata_conn_id)
        patterns = tuple(names_of(self.tables)) if self.tables else ()
        wanted = Wanted(
            lineage=bool(self.dbt_projects),
            quality=self.quality_checks,
            contracts=self.contracts,
            is_whole=not patterns and not self.schema,
        )
        problems: list[str] = []
        facts = self._facts(patterns, wanted, problems)
        result = sync_catalog(server, self.service or settings.catalog_name(), facts, wanted)
        result.problems = problems + result.problems
        for each in result.kept:
            self.log.info("kept as it is in OpenMetadata: %s", each)
        for each in result.unknown_owners:
            self.log.warning("OpenMetadata has no user or team for the owner %s: their tables are sent without.", each)
        for each in [*result.warnings, *result.problems]:
            self.log.warning("%s", each)
        done = result.to_json()
        self.log.info("%s", {name: done[name] for name in ("tables", "unchanged", "created", "updated", "requests")})
        if result.problems:
            raise TransientError(f"{len(result.problems)} things could not be read or sent: {result.problems[0]}")
        return done if result.tables else {**done, NOTHING_TO_DO: "the catalog has no tables"}

    def _facts(self, patterns: Sequence[str], wanted: Wanted, problems: list[str]) -> CatalogFacts:
        from airflow_provider_phlo.catalogs.openmetadata.reading import project_graph, read_catalog
        from airflow_provider_phlo.catalogs.openmetadata.tables import column_names, selected_tables
        from airflow_provider_phlo.contract_files import FOLDER
        from airflow_provider_phlo.dbt.project import Project
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        catalog = PhloIcebergHook(self.iceberg_conn_id).catalog
        names = selected_tables(catalog, patterns, self.schema or None)
        folder = Path(self.folder) if self.folder else settings.project_folder()
        projects = [Project((folder / each).resolve(), settings.home()) for each in self.dbt_projects]
        return read_catalog(
            catalog,
            names,
            wanted,
            problems,
            graph=lambda: project_graph(projects, column_names(catalog)),
            contracts=folder / FOLDER,
            namespace=settings.default_namespace(),
        )
