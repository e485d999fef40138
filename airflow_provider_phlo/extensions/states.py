"""Which plugins can be used, and why not: each is imported in a process of its own, with a limit."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any

from airflow_provider_phlo.extensions.apart import run_apart
from airflow_provider_phlo.installed_plugins import Kind, Plugin
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.registry import LIMIT_SECONDS, SLOW_SECONDS, resolve, several, why

_IMPORT = f"{__name__}:import_here"
# what tasks and the dag-processor have in memory already (plugins.preload): its time is not the plugin's
_WARM = (
    "airflow.sdk",
    "pyarrow.parquet",
    "pandas",
    "pandera.pandas",
    "duckdb",
    "dlt",
    "pyiceberg.catalog.sql",
    "requests",
)
_WARM_SECONDS = 60.0


class State(StrEnum):
    """Whether a plugin can be used."""

    OK = "ok"
    SLOW = "slow"
    BROKEN = "broken"
    INCOMPATIBLE = "incompatible"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Judgement:
    """
    What was found about a plugin.

    :param why: why it cannot be used, or what its author should know; empty if nothing is wrong.
    :param seconds: how long its import took; None if it was not imported.
    :param facts: what it says of itself: ``doc``, ``signature``.
    """

    plugin: Plugin
    state: State
    why: str = ""
    seconds: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def judge(plugins: Sequence[Plugin], taken: Collection[str] = ()) -> list[Judgement]:
    """
    Return what there is to say of each plugin, in their order.

    :param taken: names that no group of commands can have: those of phlo's own commands.
    """
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        return list(pool.map(lambda plugin: _judge(plugin, plugins, taken), plugins))


def _judge(plugin: Plugin, plugins: Iterable[Plugin], taken: Collection[str]) -> Judgement:
    if plugin.incompatible:
        return Judgement(plugin, State.INCOMPATIBLE, plugin.incompatible)
    if plugin.kind is Kind.COMMANDS and plugin.name in taken:
        return Judgement(plugin, State.BROKEN, f"phlo {plugin.name} is a command of phlo itself: choose another name")
    same = [each for each in plugins if (each.kind, each.name) == (plugin.kind, plugin.name) and not each.incompatible]
    found = _imported(plugin)
    if found.state is not State.BROKEN and len(same) > 1:
        return Judgement(plugin, State.AMBIGUOUS, several(same), found.seconds, found.facts)
    return found


def _imported(plugin: Plugin) -> Judgement:
    ended = run_apart(_IMPORT, plugin, LIMIT_SECONDS, libraries=())
    if ended.answer and ended.answer["seconds"] > SLOW_SECONDS:
        # a first import also compiles, and loads libraries that every task has already
        warm = run_apart(_IMPORT, plugin, _WARM_SECONDS, libraries=_WARM)
        ended = warm if warm.answer else ended
    if ended.answer is None:
        return Judgement(plugin, State.BROKEN, f"its import: {ended.problem}")
    problem, seconds = printable(ended.answer["problem"]), ended.answer["seconds"]
    facts = {name: printable(text) for name, text in ended.answer["facts"].items()}
    if problem:
        return Judgement(plugin, State.BROKEN, problem, seconds)
    if seconds > SLOW_SECONDS:
        advice = "import what is heavy inside its functions"
        return Judgement(plugin, State.SLOW, f"its import takes {seconds:.1f} s: {advice}", seconds, facts)
    return Judgement(plugin, State.OK, _undeclared(plugin), seconds, facts)


def _undeclared(plugin: Plugin) -> str:
    return "" if plugin.api else "its package does not say which version of the plugin interface it is written for"


def import_here(plugin: Plugin, *, libraries: Sequence[str]) -> dict[str, Any]:
    """
    Import a plugin in this process, and return how long that took and what went wrong.

    :param libraries: what is imported before, and not counted.
    """
    for name in libraries:
        with suppress(ImportError):
            import_module(name)
    started = time.perf_counter()
    try:
        found, problem = resolve(plugin), ""
    except BaseException as error:  # noqa: BLE001 - somebody's own code
        found, problem = None, why(error, text=True)
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 3),
        "problem": problem,
        "facts": {} if problem else _facts(found),
    }


def _facts(found: Any) -> dict[str, str]:
    try:
        signature = str(inspect.signature(found)) if callable(found) else ""
    except (TypeError, ValueError):
        signature = ""
    doc = (inspect.getdoc(found) or "") if callable(found) else str(getattr(found, "help", ""))
    return {"doc": doc.partition("\n")[0], "signature": signature}
