"""
dbt's artifacts of each run, in a folder per run and node below the project's target path: ``runs/<run>/<node>``.

``run_results.json`` and ``manifest.json`` are as dbt writes them, for tools that read such a pair; compiled SQL is
beside them. Errors are said in our words there: the engine's own may quote rows.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.dbt.manifest import MANIFEST
from airflow_provider_phlo.dbt.results import BROKEN, describe

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult
    from dbt.artifacts.schemas.run import RunExecutionResult

RESULTS = "run_results.json"
#: How long a run's artifacts are kept.
DAYS = 30
_RUNS = "runs"
_OTHER = re.compile(r"[^\w.+=-]")
_LONGEST_NAME = 200


def run_folder(folder: Path, run_id: str, node: str) -> Path:
    """
    Make the folder of what a run does with a node, and remove those of runs that are long past.

    :param folder: the target path of the project.
    """
    run = folder / _RUNS / _name(run_id)
    if not run.exists():
        _remove_old(folder / _RUNS)
    place = run / _name(node)
    place.mkdir(parents=True, exist_ok=True)
    (place / MANIFEST).unlink(missing_ok=True)
    try:
        # what it was when it ran: the next parse puts another file in its place
        os.link(folder / MANIFEST, place / MANIFEST)
    except OSError:
        shutil.copyfile(folder / MANIFEST, place / MANIFEST)
    return place


def keep_results(done: RunExecutionResult, place: Path) -> None:
    """Write ``run_results.json``."""
    replace(done, results=[_in_our_words(result) for result in done.results]).write(str(place / RESULTS))


def _in_our_words(result: NodeResult) -> NodeResult:
    if str(result.status) not in BROKEN:
        return result
    statement = getattr(result.node, "compiled_code", None) or ""
    return replace(result, message=describe(str(result.message), statement))


def _name(text: str) -> str:
    return _OTHER.sub("_", text)[:_LONGEST_NAME]


def _remove_old(runs: Path) -> None:
    oldest = time.time() - DAYS * 86_400
    for run in runs.iterdir() if runs.exists() else ():
        with suppress(OSError):  # another task removes it, too
            if run.stat().st_mtime < oldest:
                shutil.rmtree(run)
