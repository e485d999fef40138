"""Set up what the services of a project need, once: passwords, databases, dbt's manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import Project
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.postgres import metadata
from airflow_provider_phlo.services.postgres.server import postgres_pid, stop_postgres
from airflow_provider_phlo.services.supervising import airflow_processes
from airflow_provider_phlo.services.supervising.state import read_state

#: In a home: held by its supervisor, its demo, or who sets it up.
LOCK = "demo.lock"

Say = Callable[[str], None]


def set_up_databases(project: Project, say: Say, postgres_port: int | None = None) -> dict[str, str]:
    """
    Create or upgrade the databases of a project, and leave Postgres running.

    :param say: gets a line about what somebody should know.
    :param postgres_port: where Postgres listens if it has to be started; None means where it did before.
    :return: the variables of Airflow's processes.
    :raises ConfigurationError: one cannot be made; says why.
    """
    changed = embedded.choose_metadata_database(project.home, project.root, change=True)
    if changed:
        say(changed)
    variables = embedded.added_to(os.environ, embedded.project_variables(project.home, project.root))
    airflow_processes.set_up(project.home, variables, postgres_port=postgres_port)
    return variables


def parse_models(project: Project, variables: Mapping[str, str]) -> bool:
    """
    Have dbt parse the project's models, unless it has; other dbt projects are parsed with the DAG files that use them.

    :param variables: of Airflow's processes.
    :return: whether the project has models.
    :raises ConfigurationError: dbt cannot parse them; carries the end of what it printed.
    """
    folder = project.root / (variables.get("PHLO_DBT_PROJECT") or "include/dbt")
    if not (folder / "dbt_project.yml").exists():
        return False
    embedded.parse_models(variables)
    return True


def initialise(project: Project, say: Say) -> None:
    """
    Set up everything that the services need, and leave nothing running that did not run before.

    What is there is left as it is, so it may be called again, also while the services run.

    :param say: gets a line about each part.
    :raises ConfigurationError: a part cannot be made, or a demo runs in this home; says why.
    """
    home = project.home
    embedded.prepare(home)
    say(f"{home}: folders and passwords are there")
    state = read_state(home)
    if state and state.is_alive:
        say("the services run: their databases are there")
        _parse(project, embedded.added_to(os.environ, embedded.project_variables(home, project.root)), say)
        return
    mark = embedded.secret(home, "mark")
    ran = bool(processes.find_marked(mark))
    postgres_ran = postgres_pid(home) is not None
    try:
        with processes.hold_lock(home / LOCK):
            variables = set_up_databases(project, say)
            say(f"Airflow's metadata database ({metadata.used(home)}) and the bundled Postgres are there")
            _parse(project, variables, say)
    finally:
        if not ran:
            processes.stop(mark)
        if not postgres_ran:
            stop_postgres(home)


def _parse(project: Project, variables: Mapping[str, str], say: Say) -> None:
    if parse_models(project, variables):
        say("dbt has parsed the models")
