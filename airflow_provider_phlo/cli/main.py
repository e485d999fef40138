"""``phlo``: the commands of ``airflow phlo``, without the seconds that Airflow's own command line takes to start."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from typing import Any

from airflow_provider_phlo import __version__
from airflow_provider_phlo.cli.definition import COMMANDS, HELP, VERBOSE
from airflow_provider_phlo.cli.terminal import environment
from airflow_provider_phlo.cli.terminal.arguments import Command, Group, epilog
from airflow_provider_phlo.cli.terminal.errors import exit_on_error, run, written_output


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run one command.

    :param argv: the arguments; None means those of the process.
    """
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may come next
        from argcomplete import autocomplete

        autocomplete(parser, always_complete_options=False)
    with exit_on_error(""), written_output():
        arguments = parser.parse_args(argv)
    if not arguments.alone:
        with exit_on_error(arguments.command):
            environment.enter_project_environment()
    run(arguments.path, arguments.command, arguments)


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="phlo", description=HELP)
    parser.add_argument("--version", action="version", version=__version__)
    _add(parser, COMMANDS)
    return parser


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

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; only what asks for help, before all else, is an option where arguments are passed on."""
        if self.passes_on and args is not None and args[:1] not in (["-h"], ["--help"], ["--"]):
            args = ["--", *args]
        return super().parse_known_args(args, namespace)


def _add(parser: argparse.ArgumentParser, commands: Sequence[Command | Group], above: str = "") -> None:
    groups = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for command in commands:
        if isinstance(command, Group):
            _add(
                groups.add_parser(command.name, help=command.help, description=command.help),
                command.commands,
                f"{command.name} ",
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
