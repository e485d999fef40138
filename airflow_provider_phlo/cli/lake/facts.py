"""
What DAG files and the catalog say, read in a process of its own:
``python -m airflow_provider_phlo.cli.lake.facts OUT``.

DAG files are run as Airflow's DAG processor runs them. The result is JSON: the facts, and every file that was read
from the project for them, so that whoever keeps the facts knows when they are old.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_provider_phlo.task_facts import Facts, TaskFacts, TaskLineage

_SCHEME = "iceberg://"
_NOT_OF_A_PROJECT = (
    *("/proc", "/sys", "/dev", "/etc", "/usr"),
    *(sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib")),
)


def main() -> None:
    """Write the facts to the file that is named by the first argument; ``dags`` or ``catalog`` is the second."""
    out, wanted = Path(sys.argv[1]), sys.argv[2]
    read: set[str] = set()
    sys.addaudithook(lambda event, args: read.add(os.path.abspath(args[0])) if _is_read(event, args) else None)
    facts = _of_dags() if wanted == "dags" else _of_catalog()
    files = _sources(read) if wanted == "dags" else _database()
    out.write_text(json.dumps({"facts": facts.to_json(), "read": files}))


def _sources(read: Iterable[str]) -> list[str] | None:
    """Return the project's files among those that were read; for what Python compiled, its source."""
    ours = [os.path.realpath(each) for each in (os.environ.get("PHLO_HOME") or ".phlo", *_NOT_OF_A_PROJECT)]
    ours += [os.environ["AIRFLOW_HOME"]] if "AIRFLOW_HOME" in os.environ else []
    sources = {
        importlib.util.source_from_cache(each) if each.endswith(".pyc") else each for each in read if _ends_known(each)
    }
    return sorted(
        each
        for each in sources
        if os.path.isfile(each) and not any(f"{each}".startswith(f"{place}/") for place in ours)
    )


def _ends_known(path: str) -> bool:
    # while Python writes what it compiled, the name goes on after .pyc
    return "/__pycache__/" not in path or path.endswith(".pyc")


def _database() -> list[str] | None:
    """Return the files of the catalog; None if it is a server, whose tables may change unseen."""
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

    prefix, uri = "sqlite:///", str(PhloIcebergHook().properties.get("uri", ""))
    if not uri.startswith(prefix):
        return None
    path = uri.removeprefix(prefix).partition("?")[0]
    return [path, f"{path}-wal"]


def _is_read(event: str, args: tuple[Any, ...]) -> bool:
    return event == "open" and isinstance(args[0], str) and args[1] in (None, "r", "rb", "rt")


# --- DAGs


def _of_dags() -> Facts:
    from airflow.dag_processing.dagbag import DagBag

    tasks: list[TaskFacts] = []
    schedules: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    for folder in _folders():
        bag = DagBag(str(folder))
        problems += [f"{name} cannot be imported: {_last_line(text)}" for name, text in bag.import_errors.items()]
        for dag in bag.dags.values():
            tasks += [_task(dag.dag_id, task) for task in dag.tasks]
            if names := assets_that_start(dag):
                schedules[dag.dag_id] = names
    return Facts(tuple(tasks), schedules, {}, tuple(problems))


def _folders() -> Iterator[Path]:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    for bundle in DagBundlesManager().get_all_dag_bundles():  # type: ignore[no-untyped-call]
        bundle.initialize()
        if bundle.path.is_dir():
            yield bundle.path


def assets_that_start(dag: Any) -> tuple[str, ...]:
    """Return the assets that a DAG is scheduled on, as tables or URIs."""
    return tuple(_names(_assets(getattr(dag.timetable, "asset_condition", None))))


def _assets(condition: Any) -> Iterator[Any]:
    """Yield the assets of a schedule: of one, of a list, of those joined by ``&`` and ``|``, references among them."""
    members = getattr(condition, "objects", None)
    if members is None:
        yield condition
    else:
        for member in members:
            yield from _assets(member)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"


def _task(dag_id: str, task: Any) -> TaskFacts:
    # a mapped task is not its operator yet
    said = task.lineage() if hasattr(task, "lineage") else TaskLineage()
    return TaskFacts(dag_id, task.task_id, task.owner, tuple(_names(task.inlets)), tuple(_names(task.outlets)), said)


def _names(assets: Iterable[Any]) -> Iterator[str]:
    """Yield tables as ``namespace.table``, other assets as their URIs; references to names as these."""
    from airflow.sdk.definitions.asset import AssetNameRef

    for asset in assets:
        uri = asset.name if isinstance(asset, AssetNameRef) else getattr(asset, "uri", None)
        if uri:
            yield ".".join(map(unquote, uri.removeprefix(_SCHEME).split("/")[1:])) if uri.startswith(_SCHEME) else uri


# --- the catalog


def _of_catalog() -> Facts:
    from airflow_provider_phlo.cli.terminal.output import open_catalog
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    catalog = open_catalog()
    found = ((name, find_table(catalog, name)) for name in all_tables(catalog))
    return Facts(
        tables={
            name: tuple(field.name for field in table.schema().fields) for name, table in found if table is not None
        }
    )


if __name__ == "__main__":
    main()
