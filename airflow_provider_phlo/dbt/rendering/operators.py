"""What one task of a dbt task group does: build a model, or run tests that no model's task runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.assets.iceberg import outlets_of, set_event
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET, profile_of
from airflow_provider_phlo.dbt.project import environment as set_environment
from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.openlineage import dataset_of_table
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_provider_phlo.catalogs.openlineage.work import Assertion, Work
    from airflow_provider_phlo.dbt.results import TestOutcome
    from airflow_provider_phlo.dbt.runner import ModelRun
    from airflow_provider_phlo.task_facts import TaskLineage

_NOTHING_NEW = "it was made of the same tables and settings, and its tests, which passed then, were not run again"


class DbtOperator(PhloOperator):
    """
    What both kinds of tasks share: the project, and what its SQL and the adapter read from the environment.

    :param project_dir: the dbt project.
    :param target: the profile's target, ``duckdb`` or ``trino``.
    :param partition_date: passed to the SQL as ``env_var('PHLO_PARTITION_DATE')``; None takes the run's.
    :param env: further environment variables; those that are not templates are there when the project is parsed, too.
    :param vars: dbt's variables; a run's conf may add to them: ``{"dbt_vars": {"name": "value"}}``.
    :param iceberg_conn_id: the catalog.
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("partition_date", "env", "vars")
    ui_color = "#ff6849"

    def __init__(
        self,
        *,
        project_dir: str,
        target: str = DEFAULT_TARGET,
        partition_date: str | None = None,
        env: Mapping[str, str] | None = None,
        vars: Mapping[str, Any] | None = None,
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_dir = project_dir
        self.target = target
        self.partition_date = partition_date
        self.env = dict(env or {})
        self.vars = dict(vars or {})
        self.parse_env = parse_environment(self.env)
        self.iceberg_conn_id = iceberg_conn_id

    def builds(self, *nodes: str) -> TaskLineage:
        """Return what :meth:`lineage` says of models or tests."""
        from airflow_provider_phlo.task_facts import ProjectFacts, TaskLineage

        return TaskLineage(project=ProjectFacts(self.project_dir, self.target, self.vars, self.parse_env), nodes=nodes)

    @property
    def _is_embedded(self) -> bool:
        with set_environment(self.parse_env):
            return profile_of(Path(self.project_dir), self.target).is_embedded

    def variables(self, context: Context) -> dict[str, Any]:
        """
        Return dbt's variables of a run.

        :raises ConfigurationError: what its conf says of them is not a mapping.
        """
        given = _conf(context).get("dbt_vars") or {}
        if not isinstance(given, Mapping):
            raise ConfigurationError('The conf\'s dbt_vars is not a mapping: write {"dbt_vars": {"name": "value"}}.')
        return {**self.vars, **given}

    def environment(self, partition_date: str, run_id: str, token: str = "") -> dict[str, str]:
        """
        Return what the project and the adapter read; the catalog's secrets are set only while dbt runs.

        :param token: the run's token, for tables that are written or read on its branch; main is read without.
        """
        variables = {
            **self.env,
            "PHLO_PARTITION_DATE": partition_date,
            "PHLO_DAY_ZONE": settings.day_zone(),
            "PHLO_RUN_ID": run_id,
        }
        if not self._is_embedded:  # Trino has its own catalog, and cannot write a branch
            return variables
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        properties = dict(PhloIcebergHook(self.iceberg_conn_id).properties)
        return {
            **variables,
            "PHLO_CATALOG_NAME": properties.pop("catalog_name", settings.catalog_name()),
            "PHLO_CATALOG_PROPERTIES": json.dumps(properties),
            **({"PHLO_RUN_TOKEN": token} if token else {}),
        }


class DbtModelOperator(DbtOperator):
    """
    Build one dbt model on the run's branch, run its tests there, and publish it if they pass.

    :param model: the model's id in the manifest, ``model.<project>.<name>``.
    :param table: the ``namespace.table`` that it writes; also the outlet.
    :param full_refresh: build an incremental model from scratch; a run's conf may ask for it, for all models or
        some: ``{"dbt_full_refresh": true}``, ``{"dbt_full_refresh": ["orders"]}``.
    :param tests: the ids of the tests to run with it; all that read nothing else than it is built on when None.
    """

    def __init__(
        self,
        *,
        model: str,
        table: str,
        full_refresh: bool = False,
        tests: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", outlets_of(table))
        super().__init__(**kwargs)
        self.model = model
        self.table = table
        self.full_refresh = full_refresh
        self.tests = None if tests is None else list(tests)
        self._built: ModelRun | None = None

    def _is_full(self, context: Context) -> bool:
        asked = _conf(context).get("dbt_full_refresh", self.full_refresh)
        if isinstance(asked, bool):
            return asked
        names = names_of(asked) if isinstance(asked, str | list) else ()
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigurationError("The conf's dbt_full_refresh is neither true, false nor names of models.")
        return self.full_refresh or not {self.model, self.model.split(".")[2]}.isdisjoint(names)

    def lineage(self) -> TaskLineage:
        """Return the model."""
        return self.builds(self.model)

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the model's table."""
        return outlets_of(arguments.get("table"))

    def work(self) -> Work:
        """Return the tables that the model reads, its own, and what its tests have found."""
        from airflow_provider_phlo.catalogs.openlineage.work import Counts, Model, Read, Work, Written

        done, own = self._built, dataset_of_table(self.table)
        asserted = _assertions(self.failure.outcomes if isinstance(self.failure, QualityCheckError) else ())
        if done is None:
            tested = (Read(own, self.table, asserted),) if asserted else ()
            return Work(tested, (Written(own, self.table),))
        asserted = _assertions(done.outcomes)
        read = [Read(dataset_of_table(name), name) for name in done.reads.values() if name != self.table]
        if asserted:
            read.append(Read(own, self.table, asserted))
        names = {tuple(name.lower().split(".")): table for name, table in done.reads.items()}
        model = done.sql and Model(done.sql, "duckdb" if self._is_embedded else "trino", names)
        counts = Counts(None if done.changed is False else done.rows)
        written = Written(own, self.table, counts=counts, snapshot_id=done.snapshot_id, made_of=model or None)
        return Work(tuple(read), (written,))

    def run(self, context: Context) -> dict[str, Any]:
        from airflow_provider_phlo import runs
        from airflow_provider_phlo.dbt.runner import build_model

        day = runs.partition_date(context, self.partition_date)
        done = build_model(
            Path(self.project_dir),
            self.model,
            home=settings.home(),
            target=self.target,
            environment=self.environment(day, context["run_id"], runs.token(context, self.table)),
            full_refresh=self._is_full(context),
            vars=self.variables(context),
            env=self.parse_env,
            tests=self.tests,
        )
        self._built = done
        state = "was not changed" if done.changed is False else "is published"
        if done.nothing_new:
            state = f"is as it was: {_NOTHING_NEW}"
        rows = "the engine reports no rows" if done.rows is None else f"{done.rows} rows"
        self.log.info("%s %s: %s, %d tests passed", done.table, state, rows, done.tests)
        for warning in done.warnings:
            self.log.warning("%s: dbt test %s", done.table, warning)
        result = {
            "table": done.table,
            "changed": done.changed,
            "rows": done.rows,
            "snapshot_id": done.snapshot_id,
            "partition_date": day,
            "tests": done.tests,
            "warnings": list(done.warnings),
        }
        if done.rows is None and not self._is_embedded:
            result["reason"] = f"{self.target} wrote it, which reports no rows"
        if done.nothing_new:
            result["reason"] = _NOTHING_NEW
        set_event(context, self.table, result)
        return result


class DbtTestOperator(DbtOperator):
    """
    Run dbt tests that no model's task runs, on main; a failed one stops what is built on what they read.

    :param tests: their ids in the manifest, ``test.<project>.<name>.<hash>``.
    """

    def __init__(self, *, tests: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tests = list(tests)
        self._outcomes: Sequence[TestOutcome] = ()
        self._vars: Mapping[str, Any] = {}

    def work(self) -> Work:
        """Return what was tested, with the verdicts."""
        from airflow_provider_phlo.catalogs.openlineage.work import Read, Work
        from airflow_provider_phlo.dbt.manifest import MANIFEST, read_manifest, rendered_path, tables_tested
        from airflow_provider_phlo.dbt.project import Project

        outcomes = self.failure.outcomes if isinstance(self.failure, QualityCheckError) else self._outcomes
        if not outcomes:
            return Work()
        project = Project(Path(self.project_dir), settings.home(), self.target, self._vars, self.parse_env)
        manifest = read_manifest(rendered_path(project.folder / MANIFEST))
        found: dict[str, list[TestOutcome]] = {}
        for outcome in outcomes:
            for table in tables_tested(manifest, outcome.nodes):
                found.setdefault(table, []).append(outcome)
        return Work(tuple(Read(dataset_of_table(name), name, _assertions(each)) for name, each in found.items()))

    def lineage(self) -> TaskLineage:
        """Return the tests."""
        return self.builds(*self.tests)

    def run(self, context: Context) -> dict[str, Any]:
        from airflow_provider_phlo import runs
        from airflow_provider_phlo.dbt.runner import run_tests

        day = runs.partition_date(context, self.partition_date)
        self._vars = self.variables(context)
        done = run_tests(
            Path(self.project_dir),
            self.tests,
            home=settings.home(),
            target=self.target,
            environment=self.environment(day, context["run_id"]),
            vars=self._vars,
            env=self.parse_env,
        )
        self._outcomes = done.outcomes
        self.log.info("%d dbt tests passed", done.passed)
        for warning in done.warnings:
            self.log.warning("dbt test %s", warning)
        return {"tests": done.passed, "warnings": list(done.warnings)}


def _assertions(outcomes: Sequence[TestOutcome]) -> tuple[Assertion, ...]:
    from airflow_provider_phlo.catalogs.openlineage.work import Assertion

    return tuple(
        Assertion(each.kind, each.name, each.passed, each.column, each.severity, {"failed": each.failed})
        for each in outcomes
    )


def parse_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a project is parsed with: those that are the same in every run."""
    return {name: value for name, value in env.items() if "{{" not in value and "{%" not in value}


def _conf(context: Context) -> Mapping[str, Any]:
    return getattr(context.get("dag_run"), "conf", None) or {}
