"""The commands as Airflow's own command line takes them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

from airflow_provider_phlo.cli.terminal.arguments import VERBOSE, Command, Group, epilog


def airflow_group(about: str, commands: Iterable[Command | Group]) -> CLICommand:
    """
    Return the group ``phlo``.

    :param about: what help says of it.
    """
    return GroupCommand(name="phlo", help=about, subcommands=[_airflow_command(item) for item in commands])


def _airflow_command(item: Command | Group, above: str = "") -> CLICommand:
    if isinstance(item, Group):
        return GroupCommand(
            name=item.name,
            help=item.help,
            subcommands=[_airflow_command(command, f"{above}{item.name} ") for command in item.commands],
        )
    return ActionCommand(
        name=item.name,
        help=item.help,
        description=item.description or None,
        epilog=epilog(item),
        func=_function(item, f"{above}{item.name}"),
        args=[
            Arg(argument.flags, **argument.options)  # type: ignore[no-untyped-call]
            for argument in (*item.arguments, VERBOSE)
        ],
    )


def _function(command: Command, name: str) -> Callable[[argparse.Namespace], None]:
    """Return what runs a command, and loads its code only then."""

    def call(args: argparse.Namespace) -> None:
        from airflow_provider_phlo.cli.terminal.errors import run

        run(command.path, name, args)

    return call
