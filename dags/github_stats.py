"""A GitHub user's profile, repositories and events to audited marts in Postgres, every day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag

from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.quality import CountCheck, NullCheck, UniqueCheck

GITHUB = {"api": "github_default"}


def _resource(api, name):
    from airflow_provider_phlo.sources.github import connection_arguments, github

    return github(**connection_arguments(api)).with_resources(name)


@phlo_ingestion(
    table_name="user_profile",
    unique_key="id",
    validation_schema="include.schemas.github:UserProfile",
    group="github",
    audit=[CountCheck(min_count=1)],
    resources=GITHUB,
)
def user_profile(api):
    """The user as GitHub shows them today."""
    return _resource(api, "user_profile")


@phlo_ingestion(
    table_name="user_repos",
    unique_key="id",
    validation_schema="include.schemas.github:UserRepos",
    group="github",
    audit=[NullCheck(columns=["id", "full_name"])],
    resources=GITHUB,
)
def user_repos(api):
    """All public repositories of the user."""
    return _resource(api, "user_repos")


@phlo_ingestion(
    table_name="user_events",
    unique_key="id",
    validation_schema="include.schemas.github:UserEvents",
    group="github",
    merge_strategy="append",
    merge_config={"deduplication": True, "deduplication_method": "hash"},
    strict_validation=False,
    audit=[NullCheck(columns=["id", "created_at"])],
    resources=GITHUB,
)
def user_events(api):
    """Every event that the API returns, whatever its day: it keeps the last 300 or 90 days."""
    return _resource(api, "user_events")


@phlo_quality(table="raw.user_events", checks=[UniqueCheck(columns=["id"])], group="github", blocking=False)
def events_quality():
    """GitHub's events do not change; an id that comes twice with another content is worth a look."""


@dag(
    schedule="30 6 * * *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["github"],
    doc_md=__doc__,
)
def github_stats():
    models = phlo_dbt_task_group(select="path:models/github", group_id="github_models")
    [user_profile(), user_repos(), user_events() >> events_quality()] >> models
    models >> PublishOperator(
        task_id="publish_marts",
        tables={"mrt_github_activity": "marts.mrt_github_activity", "mrt_github_repos": "marts.mrt_github_repos"},
    )


github_stats()
