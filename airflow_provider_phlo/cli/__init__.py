"""
The command line: ``airflow phlo …`` and ``phlo …``, one module per group of commands.

:mod:`.definition` declares all commands as data and imports next to nothing, because every ``airflow`` call loads it.
The names here are what plugins make command groups of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.cli.terminal.arguments import Argument, Command, Group, output
    from airflow_provider_phlo.cli.terminal.output import Result, show

__all__ = ["Argument", "Command", "Group", "Result", "output", "show"]


def __getattr__(name: str) -> Any:
    if name in ("Result", "show"):  # not for every `airflow` call
        from airflow_provider_phlo.cli.terminal import output as module
    elif name in __all__:
        from airflow_provider_phlo.cli.terminal import arguments as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
