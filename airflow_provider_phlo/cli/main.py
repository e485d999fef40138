"""``phlo``: the commands of ``airflow phlo``, without the seconds that Airflow's own command line takes to start."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_phlo import __version__
from airflow_provider_phlo.cli.definition import COMMANDS, HELP
from airflow_provider_phlo.cli.extensions.groups import help_line, load_group, plugin_groups
from airflow_provider_phlo.cli.terminal import environment
from airflow_provider_phlo.cli.terminal.arguments import VERBOSE, Command, Group, epilog
from airflow_provider_phlo.cli.terminal.errors import exit_on_error, run, written_output
from airflow_provider_phlo.installed_plugins import Plugin


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run one command.

    :param argv: the arguments; None means those of the process.
    """
    parser = _parser() if _is_own(sys.argv[1:] if argv is None else argv) else _parser_with_plugins()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may come next
        from argcomplete import autocomplete

        _complete_group(parser, os.environ.get("COMP_LINE", "").split())
        autocomplete(parser, always_complete_options=False)
    with exit_on_error(""), written_output():
        arguments = parser.parse_args(argv)
    if not arguments.alone:
        with exit_on_error(arguments.command):
            # of an Airflow that was named, something can be said without a project
            named = getattr(arguments, "api_url", None) or os.environ.get("PHLO_AIRFLOW_URL")
            environment.enter_project_environment(required=not named)
    run(arguments.path, arguments.command, arguments)


def _is_own(argv: Sequence[str]) -> bool:
    """Return whether a command of phlo's own is asked for: then nobody looks for those of plugins."""
    return any(command.name == argv[0] for command in COMMANDS) if argv else False


@functools.cache
def _parser() -> argparse.ArgumentParser:
    return _whole_parser({})


def _parser_with_plugins() -> argparse.ArgumentParser:
    return _whole_parser(plugin_groups({command.name for command in COMMANDS}))


def _whole_parser(plugins: Mapping[str, Plugin]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="phlo", description=HELP)
    parser.add_argument("--version", action="version", version=__version__)
    groups = _add(parser, COMMANDS)
    for name, plugin in plugins.items():
        added = groups.add_parser(name, help=help_line(plugin))
        added.plugin = plugin
    return parser


def _complete_group(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Import the group of a plugin whose commands are asked for: argcomplete cannot wait until it is parsed."""
    if len(words) > 1 and not _is_own(words[1:]):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction) and words[1] in action.choices:
                action.choices[words[1]].get_commands()


class _Formatter(argparse.HelpFormatter):
    """Wraps paragraphs, and leaves lines that are indented as they are: command lines are copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(
            line if line.startswith(" ") else super(_Formatter, self)._fill_text(line, width, indent) for line in lines
        )


class _Parser(argparse.ArgumentParser):
    """A parser that may leave all to another program: options, too, are then plain arguments."""

    passes_on = False
    #: The plugin whose commands it gets when it is asked for.
    plugin: Plugin | None = None

    def get_commands(self) -> None:
        """Import the commands of a plugin's group, if they are not there yet."""
        if self.plugin is not None:
            plugin, self.plugin = self.plugin, None
            with exit_on_error(plugin.name):
                group = load_group(plugin)
            self.description = group.help
            _add(self, group.commands, f"{group.name} ")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; only what asks for help, before all else, is an option where arguments are passed on."""
        self.get_commands()
        if self.passes_on and args is not None and args[:1] not in (["-h"], ["--help"], ["--"]):
            args = ["--", *args]
        return super().parse_known_args(args, namespace)


def _add(parser: argparse.ArgumentParser, commands: Sequence[Command | Group], above: str = "") -> Any:
    groups = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for command in commands:
        if isinstance(command, Group):
            _add(
                groups.add_parser(command.name, help=command.help, description=command.help),
                command.commands,
                f"{above}{command.name} ",
            )
            continue
        sub = groups.add_parser(
            command.name,
            help=command.help,
            description=command.description or command.help,
            epilog=epilog(command),
            formatter_class=_Formatter,
        )
        sub.passes_on = command.passes_on
        sub.set_defaults(path=command.path, command=f"{above}{command.name}", alone=command.alone)
        for argument in (*command.arguments, VERBOSE):
            sub.add_argument(*argument.flags, **argument.options)
    return groups
