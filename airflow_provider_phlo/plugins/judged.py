"""What is wrong with plugins of installed packages, said once, where Airflow starts to read DAG files."""

from __future__ import annotations

import logging
from typing import Any

from airflow.listeners import hookimpl

from airflow_provider_phlo.installed_plugins import installed_plugins
from airflow_provider_phlo.plugins.preload import airflow_command

log = logging.getLogger(__name__)


@hookimpl
def on_starting(component: Any) -> None:
    """Warn of every plugin that cannot be used; nobody who does not name it is affected."""
    if type(component).__name__ != "Job" or airflow_command() != "dag-processor" or not installed_plugins():
        return
    from airflow_provider_phlo.extensions.states import State, judge

    try:
        found = judge(installed_plugins())
    except Exception:
        log.warning("phlo: plugins could not be looked at: phlo plugin list shows why", exc_info=True)
        return
    for each in found:
        if each.state is not State.OK:
            log.warning(
                "phlo: the %s is %s: %s. It is skipped unless a DAG names it.", each.plugin, each.state, each.why
            )
