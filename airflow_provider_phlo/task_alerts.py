"""
What tasks write down about themselves for alerts: at once, never in the way of the task, and sent by others.

Without a file of rules, or without a rule of the kind, this is one look at a folder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_phlo import settings
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.terms import ALERT_RULES

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.alerts import Configuration, RuleKind, Verdict

log = logging.getLogger(__name__)

#: A task waits no longer than this for what it writes down; the watcher finds most of it by itself.
LONGEST_SECONDS = 15.0


def may_ask_for(*kinds: RuleKind) -> bool:
    """Return whether the project's file of rules names one of these kinds."""
    try:
        text = (settings.project_folder() / ALERT_RULES).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(kind in text for kind in kinds)


def configuration_for(*kinds: RuleKind) -> Configuration | None:
    """
    Return the rules of the project if any is of one of these kinds, else None.

    :raises ConfigurationError: the file is wrong.
    """
    from airflow_provider_phlo.alerts import read_configuration

    found = read_configuration(settings.project_folder(), base_url=settings.airflow_url(), checks_sql=False)
    return found if found is not None and found.asks_for(*kinds) else None


def write_down(open_catalog: Callable[[], Catalog], configuration: Configuration, verdicts: Sequence[Verdict]) -> None:
    """Write verdicts down; the watcher sends what comes of it."""
    from airflow_provider_phlo.alerts import process

    process(open_catalog(), configuration, verdicts, datetime.now(UTC), deliver=False)


def without_harm(action: Callable[[], object]) -> None:
    """Do something that a task neither waits long for nor fails by: it warns."""
    done = threading.Event()

    def run() -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - alerts may degrade, never fail a task
            log.warning("alerts: nothing was written down about this task: %s", describe(error))
        finally:
            done.set()

    threading.Thread(target=run, name="phlo-alerts", daemon=True).start()
    if not done.wait(LONGEST_SECONDS):
        log.warning("alerts: the task goes on without waiting for what it has to write down.")
