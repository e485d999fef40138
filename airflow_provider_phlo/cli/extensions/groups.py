"""
The command groups that plugins bring: ``phlo <group>``.

They are known by their packages' metadata. A group's code is imported when somebody names the group, so one that is
broken or slow harms no other command, and no help.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from airflow_provider_phlo.cli.terminal.arguments import Command, Group
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.installed_plugins import Kind, Plugin, installed_plugins

_WORD = re.compile(r"[a-z0-9][a-z0-9_-]*")


def plugin_groups(taken: Collection[str]) -> dict[str, Plugin]:
    """
    Return the groups by name; those that cannot be used whatever their code is are left to ``phlo plugin list``.

    :param taken: the names of phlo's own commands, which no plugin replaces.
    """
    found = [each for each in installed_plugins() if each.kind is Kind.COMMANDS and not each.incompatible]
    names = [each.name for each in found]
    return {
        each.name: each
        for each in found
        if each.name not in taken and names.count(each.name) == 1 and _WORD.fullmatch(each.name)
    }


def groups_for(argv: Sequence[str], taken: Collection[str]) -> Iterator[Group]:
    """
    Yield the groups for Airflow's own command line: only one that is asked for is imported, and has its commands.

    :param argv: the arguments of the process, the program first.
    """
    if argv[1:2] != ["phlo"]:  # every `airflow` call asks
        return
    for name, plugin in plugin_groups(taken).items():
        if argv[2:3] == [name]:
            from airflow_provider_phlo.cli.terminal.errors import exit_on_error

            with exit_on_error(name):
                yield load_group(plugin)
        else:
            yield Group(name, help_line(plugin), ())


def load_group(plugin: Plugin) -> Group:
    """
    Return the group of a plugin, under the name that its package gives it.

    :raises ConfigurationError: it cannot be imported, or is not a group of commands.
    """
    from airflow_provider_phlo.registry import load

    group = load(plugin)
    if not isinstance(group, Group) or not all(isinstance(each, Command) for each in group.commands):
        raise ConfigurationError(
            f"The {plugin} cannot be used: {plugin.reference} is not a Group of Commands of airflow_provider_phlo.cli."
        )
    _require_parsable(plugin, group)
    return replace(group, name=plugin.name)


def help_line(plugin: Plugin) -> str:
    """Return what help says of a group whose code is not imported."""
    # % is argparse's
    return f"{plugin.about or 'Commands'} ({plugin.package} {plugin.version})".replace("%", "%%")


def _require_parsable(plugin: Plugin, group: Group) -> None:
    """Refuse arguments and help that argparse does not take."""
    for command in group.commands:
        assert isinstance(command, Command)
        try:
            _ = command.help % {}  # argparse puts values into it: % is written as %%
            parser = argparse.ArgumentParser(prog=command.name, description=command.description or command.help)
            for argument in command.arguments:
                parser.add_argument(*argument.flags, **argument.options)
            parser.format_help()
        except (TypeError, ValueError, KeyError, argparse.ArgumentError):
            raise ConfigurationError(
                f"The {plugin} cannot be used: argparse does not take the arguments or the help of its command "
                f"{command.name!r}."
            ) from None
