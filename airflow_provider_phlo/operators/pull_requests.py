"""Plan which pull requests a run reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.rate_limits import RateLimitedOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.sources.github_pulls.planning import Known, Plan

# what a run does not say is taken from the extra of the connection
_OF_CONNECTION = ("organizations", "concurrency", "requests_per_minute")


class PlanPullRequestsOperator(RateLimitedOperator):
    """
    List the pull requests of organisations and users, and divide them into chunks for mapped tasks.

    The result is a list of small mappings, one per chunk; the XCom ``plan`` counts what was found, and names what is
    left out. With nothing new the list is empty, so that mapped tasks are skipped.

    ::

        plan = PlanPullRequestsOperator(task_id="plan")
        read.expand(chunk=plan.output)

    :param configuration: what to read, see
        :class:`~airflow_provider_phlo.sources.github_pulls.configuration.PullRequestsConfiguration` (templated); the
        run's parameters when None. ``organizations``, ``concurrency`` and ``requests_per_minute`` may be in the
        extra of the connection.
    :param github_conn_id: the connection: host = API root, password = token; GitHub's own API without a token where
        there is no such connection.
    :param parallel_tasks: how many of the mapped tasks run at the same time (``max_active_tis_per_dag``): they share
        the requests per minute.
    :param known: how far the repositories of an account have been read; what the tables say when None.

    A rate limit is waited for without a worker; what is listed by then is not listed again.
    """

    template_fields: Sequence[str] = ("configuration",)

    def __init__(
        self,
        *,
        configuration: Mapping[str, Any] | None = None,
        github_conn_id: str = "github_default",
        parallel_tasks: int = 4,
        known: Known | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.configuration = configuration
        self.github_conn_id = github_conn_id
        self.parallel_tasks = parallel_tasks
        self.known = known

    def run(self, context: Context) -> list[dict[str, Any]]:
        """
        List what is new.

        :raises ConfigurationError: a parameter is wrong.
        :raises SourceRejectedError: there is no such account, the token is refused, or no repository can be read.
        :raises SourceUnavailableError: GitHub does not answer, or a rate limit outlasts the patience.
        """
        found = self._plan(context)
        context["ti"].xcom_push(key="plan", value=found.summary())
        self.log.info(
            "%d pull requests of %d repositories (%s) in %d chunks; %d repositories are left out.",
            found.pull_requests,
            found.repositories,
            ", ".join(found.organizations),
            len(found.chunks),
            len(found.left_out),
        )
        return found.chunks

    def _plan(self, context: Context) -> Plan:
        import datetime

        from airflow_provider_phlo import runs, settings
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.hooks.github import github_connection
        from airflow_provider_phlo.private_files import protect
        from airflow_provider_phlo.sources.github_pulls import planning, working_files
        from airflow_provider_phlo.sources.github_pulls.client import open_client
        from airflow_provider_phlo.sources.github_pulls.configuration import configuration

        connection = github_connection(self.github_conn_id)
        values = dict(context["params"] if self.configuration is None else self.configuration)
        extra = {} if connection is None else connection.extra_dejson
        values |= {name: extra[name] for name in _OF_CONNECTION if name in extra and not values.get(name)}
        config = configuration(values, parallel_tasks=self.parallel_tasks)
        protect(settings.home())
        root = DltHook().staging_root
        today = datetime.datetime.now(datetime.UTC).date()
        working_files.remove_expired(root, today, settings.staging_retention_days())
        started = context["dag_run"].start_date
        folder = working_files.run_folder(started.date() if started else today, runs.token(context, "pull requests"))
        if config.from_stage:
            self.log.info("What is staged is loaded, GitHub is asked nothing.")
            return planning.Plan([], folder, list(config.organizations), 0, 0, [], from_stage=True)
        client = open_client(connection, config.requests_per_minute)
        return planning.plan(config, client, root, folder, self.known or _known)

    def _require_work(self, result: Any) -> None:
        """An empty plan is an answer: the log says that there is nothing new."""
        if not result:
            self.log.info("%s: there is nothing to read, tasks that are mapped over it are skipped.", self.task_id)


def _known(login: str) -> Any:
    from airflow_provider_phlo.hooks.warehouse import open_warehouse
    from airflow_provider_phlo.sources.github_pulls import tables
    from airflow_provider_phlo.sources.github_pulls.known import known_repositories

    return known_repositories(
        open_warehouse(),
        login,
        repositories=tables.REPOSITORIES_TABLE.target,
        contents=[table.target for table in tables.PULL_REQUEST_TABLES],
    )
