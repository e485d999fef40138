"""``phlo``: the commands of ``airflow phlo``, without the seconds that Airflow's own command line takes to start."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_phlo import __version__
from airflow_provider_phlo.cli.arguments import Command, Group
from airflow_provider_phlo.cli.definition import COMMANDS, HELP, VERBOSE
from airflow_provider_phlo.cli.errors import exit_on_error, run


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run one command.

    :param argv: the arguments; None means those of the process.
    """
    arguments = _parser().parse_args(argv)
    with exit_on_error(arguments.command):
        _enter_embedded_environment()
    run(arguments.path, arguments.command, arguments)


def _enter_embedded_environment() -> None:
    """Do what ``eval "$(make -s env)"`` does, unless this shell already has an Airflow home or a catalog."""
    from airflow_provider_phlo.services import embedded

    if {"AIRFLOW_HOME", "AIRFLOW_CONN_ICEBERG_DEFAULT"} & os.environ.keys():
        return
    root = Path.cwd()
    home = embedded.resolve_home(root, os.environ)
    if not home.exists():
        raise SystemExit(
            f"phlo: {home} does not exist. Change to the project's folder or set PHLO_HOME; `make demo` creates it."
        )
    embedded.prepare(home)
    os.environ.update(embedded.shell_environment(home, root, os.environ))


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="phlo", description=HELP)
    parser.add_argument("--version", action="version", version=__version__)
    _add(parser, COMMANDS)
    return parser


def _add(parser: argparse.ArgumentParser, commands: Sequence[Command | Group], above: str = "") -> None:
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        if isinstance(command, Group):
            _add(
                groups.add_parser(command.name, help=command.help, description=command.help),
                command.commands,
                f"{command.name} ",
            )
            continue
        sub = groups.add_parser(command.name, help=command.help, description=command.description or command.help)
        sub.set_defaults(path=command.path, command=f"{above}{command.name}")
        for argument in (*command.arguments, VERBOSE):
            sub.add_argument(*argument.flags, **argument.options)
