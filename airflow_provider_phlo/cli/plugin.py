"""``phlo plugin``: what installed packages bring, and whether it can be used."""

from __future__ import annotations

import argparse

from airflow_provider_phlo.cli.definition import COMMANDS
from airflow_provider_phlo.cli.terminal.output import Result, show, write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.extensions.states import Judgement, judge
from airflow_provider_phlo.installed_plugins import Plugin, installed_plugins, same_package
from airflow_provider_phlo.suggestions import did_you_mean

_COLUMNS = ["kind", "name", "version", "package", "state", "why"]


def list_plugins(args: argparse.Namespace) -> None:
    """List plugins with their states."""
    found = judge(_installed(args.kind), _taken())
    if args.output == "json":
        show(Result(_COLUMNS, [_row(each) for each in found]), args.output)
        return
    show(Result(_COLUMNS[:-1], [_row(each)[:-1] for each in found]), args.output)
    # whole: a table would cut it
    write_lines(
        f"{each.plugin.kind} {each.plugin.name} ({each.plugin.package}): {each.why}" for each in found if each.why
    )


def info(args: argparse.Namespace) -> None:
    """Show what there is to know of plugins of one name."""
    columns = [*_COLUMNS, "about", "arguments", "reference", "api", "seconds"]
    rows = [
        (
            *_row(each),
            each.facts.get("doc") or each.plugin.about,
            each.facts.get("signature", ""),
            each.plugin.reference,
            ", ".join(each.plugin.api),
            each.seconds,
        )
        for each in judge(_named(args.name, args.kind), _taken())
    ]
    if args.output == "json":
        show(Result(columns, rows), args.output)
        return
    for number, row in enumerate(rows):
        write_lines([""] if number else [])
        write_lines(f"{name + ':':<10} {value}" for name, value in zip(columns, row, strict=True) if value != "")


def _row(found: Judgement) -> tuple[str, str, str, str, str, str]:
    plugin = found.plugin
    return str(plugin.kind), plugin.name, plugin.version, plugin.package, str(found.state), found.why


def _installed(kind: str | None) -> list[Plugin]:
    return [plugin for plugin in installed_plugins() if kind in (None, plugin.kind)]


def _named(name: str, kind: str | None) -> list[Plugin]:
    """
    Return the plugins of a name.

    :raises ConfigurationError: there is none.
    """
    package, _, short = name.rpartition(":")
    found = [
        plugin
        for plugin in _installed(kind)
        if plugin.name == short and (not package or same_package(plugin.package, package))
    ]
    if not found:
        names = sorted({plugin.name for plugin in _installed(kind)})
        raise ConfigurationError(
            f"There is no plugin {name!r}; installed: {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
        )
    return found


def _taken() -> frozenset[str]:
    return frozenset(command.name for command in COMMANDS)
