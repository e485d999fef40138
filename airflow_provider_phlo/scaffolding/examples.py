"""Which of the repository's files make a project, by example; imports nothing, so that the command line can."""

from __future__ import annotations

from dataclasses import dataclass

_REPLAY = ("include/replay",)
_UTILS = "include/dbt/local_packages/dbt_utils"
_EXPECTATIONS = "include/dbt/local_packages/dbt_expectations"
_DBT = ("include/dbt/profiles.yml", "include/dbt/local_packages/README.md", _UTILS)


@dataclass(frozen=True)
class Example:
    """
    One example.

    :param about: what it is, as a sentence.
    :param dag: its main DAG.
    :param table: where its data can be looked at.
    :param files: files and folders of the repository that a project of it has, as they are.
    :param macros: the files of ``include/dbt/macros`` that its models use.
    :param models: its folder in ``include/dbt/models``, if it has one.
    :param settings: the sections of ``.env.example`` that concern it.
    :param dashboards: whether ``include/superset`` has dashboards of its marts, in files that begin with its name.
    :param connections: the connections of its sources, which recordings stand in for.
    """

    name: str
    about: str
    dag: str
    table: str
    files: tuple[str, ...] = ()
    macros: tuple[str, ...] = ()
    models: str = ""
    settings: tuple[str, ...] = ()
    dashboards: bool = False
    connections: tuple[str, ...] = ()


EXAMPLES = {
    example.name: example
    for example in (
        Example(
            name="empty",
            about="One table that is filled every day, to start from.",
            dag="readings",
            table="raw.readings",
        ),
        Example(
            name="glucose",
            about="Glucose readings of a Nightscout site, to audited marts in Postgres, every day.",
            dag="glucose_platform",
            table="marts.mrt_glucose_overview",
            files=(
                *("dags/glucose_platform.py", "dags/phlo_watch.py", "include/schemas/glucose.py"),
                *("include/contracts/glucose_readings.yaml", "include/contracts/glucose_overview.odcs.yaml"),
                "include/alerting/config.yaml",
                *(*_DBT, _EXPECTATIONS, *_REPLAY),
            ),
            macros=("generate_schema_name", "arrivals", "glucose", "ranks", "statistics", "time"),
            models="glucose",
            settings=("Nightscout", "Alerts"),
            dashboards=True,
            connections=("nightscout_default",),
        ),
        Example(
            name="github",
            about="A GitHub user's profile, repositories and events, to audited marts in Postgres, every day.",
            dag="github_stats",
            table="marts.mrt_github_activity",
            files=("dags/github_stats.py", "include/schemas/github.py", *_DBT, _EXPECTATIONS, *_REPLAY),
            macros=("generate_schema_name", "arrivals", "json", "time"),
            models="github",
            settings=("GitHub",),
            dashboards=True,
            connections=("github_default",),
        ),
        Example(
            name="events",
            about="GitHub's public events: batches of files, loaded into DuckDB and Iceberg, every five minutes.",
            dag="github_events",
            table="marts.mrt_public_events_by_type",
            files=("dags/github_events.py", "include/schemas/public_events.py", *_DBT, _EXPECTATIONS, *_REPLAY),
            macros=("generate_schema_name", "arrivals", "json", "time"),
            models="events",
            settings=("GitHub", "Public events"),
            connections=("github_default",),
        ),
        Example(
            name="pulls",
            about="Pull requests of organisations, with their reviews and files, to marts in Postgres, every day.",
            dag="github_pull_requests",
            table="marts.mrt_review_turnaround",
            files=("dags/github_pull_requests.py", *_DBT, *_REPLAY),
            macros=("generate_schema_name", "arrivals", "ranks", "time"),
            models="pulls",
            settings=("GitHub",),
            connections=("github_default",),
        ),
    )
}
