"""
The SQL of a dbt project's models, compiled once and kept in ``PHLO_HOME``: no model is run, no table is read.

dbt compiles without a connection (``--no-introspect``), as in a first run: no table of the project exists. A model
whose SQL asks the warehouse while it is compiled (``run_query``) has none.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_provider_phlo.dbt.manifest import ensure_manifest, stamp_of
from airflow_provider_phlo.dbt.project import QUIET, Project
from airflow_provider_phlo.exceptions import ConfigurationError

COMPILED = "compiled.json"
# the version of what is kept: files of an earlier one are made again
_VERSION = 1
# what dbt says where a macro wants the connection that it does not have
_WITHOUT_CONNECTION = "connection never acquired"
_ASKS = "its SQL asks the warehouse while it is compiled (run_query or the like)"


@dataclass(frozen=True)
class CompiledSql:
    """
    The SQL of one model, snapshot or singular test.

    :param sql: None if dbt has none.
    :param reason: why.
    """

    sql: str | None
    reason: str | None = None


def compiled_sql(project: Project) -> Mapping[str, CompiledSql]:
    """
    Return the SQL of a project's models, snapshots and singular tests, by their ids in the manifest.

    :raises ConfigurationError: dbt cannot parse or compile the project.
    """
    ensure_manifest(project)
    folder, wanted = project.folder, f"{_VERSION} {stamp_of(project.folder)}"
    path = folder / COMPILED
    with (folder / "compile.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _stamp(path) != wanted:
            _compile(project, wanted)
    return _read(path, path.stat().st_mtime_ns)[1]


def _stamp(path: Path) -> str | None:
    try:
        return _read(path, path.stat().st_mtime_ns)[0]
    except FileNotFoundError:
        return None


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int) -> tuple[str, Mapping[str, CompiledSql]]:
    kept = json.loads(path.read_bytes())
    return kept["fingerprint"], {name: CompiledSql(**each) for name, each in kept["nodes"].items()}


def _compile(project: Project, stamp: str) -> None:
    """Compile in a process of its own: what dbt leaves behind in one is not for others."""
    with TemporaryDirectory(prefix="compile-", dir=project.folder) as fresh:
        # dbt's own files go there, and so does a catalog that a profile might open
        environment = {"PHLO_PARTITION_DATE": "1970-01-01", **os.environ, **QUIET, **project.env, "PHLO_HOME": fresh}
        done = subprocess.run(
            [sys.executable, "-m", __name__, json.dumps(project.to_json()), fresh],
            env=environment,
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        result = Path(fresh) / COMPILED
        if done.returncode or not result.exists():
            tail = "\n".join(done.stdout.splitlines()[-20:])
            raise ConfigurationError(f"dbt cannot compile {project.directory} (exit code {done.returncode}):\n{tail}")
        result.write_text(json.dumps({"fingerprint": stamp, "nodes": json.loads(result.read_bytes())}))
        result.replace(project.folder / COMPILED)


# --- in the process of its own


def _main() -> None:
    project, fresh = sys.argv[1:]
    nodes = _compiled_nodes(Project.from_json(json.loads(project)), Path(fresh))
    (Path(fresh) / COMPILED).write_text(json.dumps({name: asdict(node) for name, node in nodes.items()}))


def _compiled_nodes(project: Project, fresh: Path) -> dict[str, CompiledSql]:
    from dbt.cli.main import dbtRunner
    from dbt.task.compile import CompileTask

    from airflow_provider_phlo.dbt.projects import load_manifest

    # one model that does not compile hides no other
    CompileTask.raise_on_first_error = lambda _: False
    CompileTask.populate_adapter_cache = _cache_no_relations
    done = dbtRunner(manifest=load_manifest(project.folder)).invoke(
        [
            *("--no-write-json", "--log-level-file=none", "--log-level=none", "compile"),
            *project.arguments(fresh),
            *("--no-introspect", "--full-refresh", "--indirect-selection=empty"),
            *("--select", "resource_type:model", "resource_type:snapshot", "test_type:singular"),
        ]
    )
    if done.result is None:
        raise SystemExit(str(done.exception))
    return {result.node.unique_id: _compiled(result) for result in done.result.results}


def _cache_no_relations(task: Any, adapter: Any, required_schemas: Any = None) -> None:
    """Let dbt believe that it has looked and found no tables: ``is_incremental()`` asks for the model's own."""
    adapter.cache.update_schemas(task.manifest.get_used_schemas())


def _compiled(result: Any) -> CompiledSql:
    if str(getattr(result.node, "language", "sql")) == "python":
        return CompiledSql(None, "it is a Python model")
    message = str(result.message or "")
    if str(result.status) == "success":
        return CompiledSql(result.node.compiled_code)
    if _WITHOUT_CONNECTION in message:
        return CompiledSql(None, _ASKS)
    return CompiledSql(None, f"dbt cannot compile it: {' '.join(message.split())}")


if __name__ == "__main__":
    _main()
