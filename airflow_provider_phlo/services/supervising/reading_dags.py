"""DAG files that Airflow has not read yet, since its services have just started or the files are new: wait for that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine.roots import find_root
from airflow_provider_phlo.services.supervising.state import read_state

# what the DAG processor needs for its first round on a busy machine
_FIRST_ROUND_SECONDS = 90
# twice the interval in which it looks for new ones, and some to read them
_NEW_SECONDS = 30
_PAUSE = 0.5
# Airflow reads files of its DAG folder that have both words in them
_WORDS = (b"dag", b"airflow")


def is_dag_file(path: Path) -> bool:
    """Return whether Airflow reads a Python file of its DAG folder as one with DAGs."""
    content = path.read_bytes().lower()
    return all(word in content for word in _WORDS)


class DagFiles:
    """
    The DAG files of the project whose services are talked to; none where another Airflow is.

    :param api: the Airflow that is talked to.
    """

    def __init__(self, api: AirflowApi, shell: Mapping[str, str] = os.environ) -> None:
        self._api = api
        root = find_root(Path.cwd())
        state = read_state(embedded.resolve_home(root, shell)) if root else None
        processor = state.parts.get("dag-processor") if state else None
        self._folder: Path | None = None
        self._first_round = 0.0
        if root and state and processor and state.url.rstrip("/") == api.url:
            self._folder = root / "dags"
            self._first_round = processor.started + _FIRST_ROUND_SECONDS - time.time()

    def wait_for_first_round(self, say: Callable[[str], None]) -> None:
        """
        Wait until all files were read once, if the services have just started.

        :param say: gets a line if there is something to wait for.
        """
        if self._first_round > 0:
            self._wait(self._first_round, say)

    def wait_for_new(self, say: Callable[[str], None]) -> bool:
        """Wait until files that are new were read; return whether there were any."""
        return self._wait(_NEW_SECONDS, say)

    def _wait(self, seconds: float, say: Callable[[str], None]) -> bool:
        waited = False
        deadline = time.monotonic() + seconds
        while (unread := self._unread()) and time.monotonic() < deadline:
            if not waited:
                say(f"Airflow is still reading {', '.join(sorted(unread))} …")
                waited = True
            time.sleep(_PAUSE)
        return waited

    def _unread(self) -> set[str]:
        """Return the files that Airflow has neither read nor refused yet."""
        if self._folder is None:
            return set()
        files = {str(path.relative_to(self._folder)) for path in self._folder.rglob("*.py") if is_dag_file(path)}
        if not files:
            return set()
        read = {dag["relative_fileloc"] for dag in self._api.pages("/dags", "dags")}
        refused = set(self._api.import_errors())
        return files - read - refused - {Path(file).name for file in refused}
