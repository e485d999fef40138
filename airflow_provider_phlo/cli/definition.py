"""
The commands of ``airflow phlo`` and ``phlo``, as data.

Every ``airflow`` call loads this module: it imports nothing, a command's code is loaded when the command runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

HELP = "Look at and work with the lakehouse"


@dataclass(frozen=True)
class Argument:
    """One argument of a command: flags, and what ``argparse`` takes with them."""

    flags: tuple[str, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """
    One command.

    :param path: import path of the function that gets the parsed arguments.
    """

    name: str
    help: str
    path: str
    arguments: tuple[Argument, ...]
    description: str = field(default="")


COMMANDS = (
    Command(
        name="query",
        help="Run one read-only SQL statement over the tables of the catalog",
        description=(
            "Run one read-only SQL statement (DuckDB's dialect) over the tables of the catalog, named "
            "namespace.table. SHOW TABLES and DESCRIBE work too. Exit code 1: the statement failed, "
            "2: it was refused."
        ),
        path="airflow_provider_phlo.cli.query.query",
        arguments=(
            Argument(("sql",), {"help": 'The statement, e.g. "SELECT count(*) FROM raw.glucose_entries"'}),
            Argument(
                ("-o", "--output"),
                {
                    "help": "table for people; json (timestamps ISO 8601, decimals as text) or csv for programs",
                    "choices": ("table", "json", "csv"),
                    "default": "table",
                },
            ),
        ),
    ),
)


def get_phlo_cli_commands() -> list[CLICommand]:
    """Return the ``phlo`` group for Airflow's own command line."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    return [
        GroupCommand(
            name="phlo",
            help=HELP,
            subcommands=[
                ActionCommand(
                    name=command.name,
                    help=command.help,
                    description=command.description,
                    func=lazy_load_command(command.path),
                    args=[
                        Arg(argument.flags, **argument.options)  # type: ignore[no-untyped-call]
                        for argument in command.arguments
                    ],
                )
                for command in COMMANDS
            ],
        )
    ]
