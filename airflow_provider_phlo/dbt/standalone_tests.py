"""
Tests that no model's task runs: on sources, on ephemeral models (unit tests, too), and between models that do not
read each other.

A model's task runs the tests whose other parents it is built on (dbt's indirect selection ``buildable``). All others
get tasks of their own, as soon as all they read is there, and before the models that read the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_phlo.dbt.manifest import is_ephemeral, tables_read

# Airflow's limit of a task's id is 250 characters, its groups included
_LONGEST_NAME = 120


@dataclass(frozen=True)
class StandaloneTests:
    """
    Tests that read the same tables, to be run as one task.

    :param name: what they read, as the end of a task's id.
    :param tests: their ids in the manifest.
    :param reads: what they read: the ids of models and sources.
    :param after: the selected models whose tasks come before.
    :param before: the selected models that are built on all of it, whose tasks wait.
    """

    name: str
    tests: tuple[str, ...]
    reads: tuple[str, ...]
    after: frozenset[str]
    before: frozenset[str]


def assign_tests(
    manifest: Mapping[str, Any], selected: Collection[str], tests: Collection[str]
) -> tuple[dict[str, list[str]], list[StandaloneTests]]:
    """
    Give every test its place: with the task of a model, or as a task of its own.

    :param manifest: the rendered manifest.
    :param selected: the ids of the selected models, seeds and snapshots.
    :param tests: the ids of the tests to run.
    :returns: the tests that run with each model, unit tests first, and all others.
    """
    graph = _Graph(manifest, selected)
    with_models: dict[str, list[str]] = {}
    by_reads: dict[tuple[str, ...], list[str]] = {}
    for unique_id in sorted(manifest["unit_tests"].keys() & tests):
        model = manifest["unit_tests"][unique_id]["depends_on"]["nodes"][0]
        if is_ephemeral(manifest["nodes"][model]):  # no task builds it
            by_reads.setdefault((model,), []).append(unique_id)
        else:
            with_models.setdefault(model, []).append(unique_id)
    for unique_id in sorted(manifest["tests"].keys() & tests):
        reads = tuple(sorted(set(manifest["tests"][unique_id]["depends_on"]["nodes"])))
        builder = graph.model_to_run_with(reads)
        if builder is None:
            by_reads.setdefault(reads, []).append(unique_id)
        else:
            with_models.setdefault(builder, []).append(unique_id)
    return with_models, [graph.describe(reads, found) for reads, found in sorted(by_reads.items())]


class _Graph:
    """Who reads what."""

    def __init__(self, manifest: Mapping[str, Any], selected: Collection[str]) -> None:
        self._nodes = {**manifest["sources"], **manifest["nodes"]}
        self._selected = frozenset(selected)
        self._tasks = frozenset(name for name in self._selected if not is_ephemeral(self._nodes[name]))
        self._parents = {
            name: [parent for parent in node.get("depends_on", {}).get("nodes", ()) if parent in self._nodes]
            for name, node in self._nodes.items()
        }
        self._found: dict[str, set[str]] = {}

    def model_to_run_with(self, reads: Collection[str]) -> str | None:
        """Return the model whose task runs tests that read this: the one that is built on all else (``buildable``)."""
        for model in sorted(self._tasks.intersection(reads)):
            if all(name == model or name.startswith("source.") or name in self._ancestors(model) for name in reads):
                return model
        return None

    def describe(self, reads: tuple[str, ...], tests: Iterable[str]) -> StandaloneTests:
        """Return where these tests belong among the tasks."""
        after = frozenset().union(*map(self._tasks_that_make, reads))
        # as dbt build does: who is built on all that a test reads waits for it, so that there is no circle
        built_on = {model for model in self._tasks if self._ancestors(model).issuperset(reads)}
        before = frozenset(model for model in built_on if not self._ancestors(model) & built_on)
        words = "_and_".join(name.partition(".")[2].partition(".")[2] for name in reads) or "nothing"
        name = re.sub(r"[^\w.-]", "_", words.replace(".", "_"))
        return StandaloneTests(name[:_LONGEST_NAME], tuple(sorted(tests)), reads, after, before)

    def _tasks_that_make(self, name: str) -> frozenset[str]:
        """Return the tasks that have to be done before a node can be read."""
        made = tables_read(self._nodes, name) if is_ephemeral(self._nodes[name]) else (name,)
        return self._tasks.intersection(made)

    def _ancestors(self, name: str) -> set[str]:
        if name not in self._found:
            found: set[str] = set()
            waiting = list(self._parents.get(name, ()))
            while waiting:
                parent = waiting.pop()
                if parent not in found:
                    found.add(parent)
                    waiting.extend(self._parents[parent])
            self._found[name] = found
        return self._found[name]
