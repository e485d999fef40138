"""Write down how far the pull requests of each repository have been read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import airflow_provider_phlo.sources.github_pulls.tables as pulls
from airflow_provider_phlo import runs
from airflow_provider_phlo.assets.iceberg import outlets_of
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordRepositoriesOperator(PhloOperator):
    """
    Record how far each repository has been read, in ``raw.pull_request_repositories``, after its rows are loaded.

    ::

        RecordRepositoriesOperator(task_id="record", plan=plan.output["plan"], loaded=load.output)

    :param plan: the XCom ``plan`` of the task that planned (templated).
    :param loaded: the result of the ``StageLoadOperator`` (templated).
    """

    template_fields: Sequence[str] = ("plan", "loaded")

    def __init__(self, *, plan: Any, loaded: Any, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", outlets_of(pulls.REPOSITORIES_TABLE.target))
        super().__init__(**kwargs)
        self.plan = plan
        self.loaded = loaded

    def run(self, context: Context) -> dict[str, Any]:
        """
        Record the repositories of the plan.

        :returns: ``rows``, and how many of them are complete until now.
        :raises ConfigurationError: the files of the run are gone.
        """
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.hooks.warehouse import open_stage, open_warehouse, remove_expired
        from airflow_provider_phlo.sources.github_pulls.known import rows_by_repository
        from airflow_provider_phlo.sources.github_pulls.planning import read_repositories
        from airflow_provider_phlo.sources.github_pulls.reading import left_out
        from airflow_provider_phlo.sources.github_pulls.record import repository_rows

        if self.plan["from_stage"]:
            return {"rows": None, NOTHING_TO_DO: "what is staged does not say that it is all there is"}
        root, warehouse = DltHook().staging_root, open_warehouse()
        tables = [table.target for table in pulls.PULL_REQUEST_TABLES]
        rows = {
            (organization, repository): counts
            for organization in self.plan["organizations"]
            for repository, counts in rows_by_repository(warehouse, organization, tables).items()
        }
        inserted = {table["table"]: table["inserted"] for table in self.loaded["tables"]}
        found = repository_rows(
            read_repositories(root, self.plan["folder"]),
            left_out(root, self.plan["folder"]),
            rows,
            [inserted.get(table, 0) for table in tables],
        )
        if not len(found):
            return {"rows": None, NOTHING_TO_DO: f"{', '.join(self.plan['organizations'])}: there are no repositories"}
        stage, day = open_stage(pulls.REPOSITORIES_PREFIX), runs.partition_date(context)
        token = runs.token(context, "repositories")
        with stage.writer(self.plan["organizations"][0], day, token) as writer:
            writer.write(pulls.REPOSITORIES_TABLE.entity, found)
        assert writer.batch is not None
        warehouse.load(
            stage, [pulls.REPOSITORIES_TABLE], [writer.batch], token, run_id=context["run_id"], partition_date=day
        )
        remove_expired(stage, self.log)
        result = {"rows": len(found), "complete": sum(each is not None for each in found["complete_until"].to_pylist())}
        self.log.info("recorded %s", result)
        return result
