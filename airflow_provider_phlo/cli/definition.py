"""
The commands of ``airflow phlo`` and ``phlo``, as data.

Every ``airflow`` call loads this module: it imports next to nothing, a command's code is loaded when the command runs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from datetime import date
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


@dataclass(frozen=True)
class Group:
    """Commands under one name."""

    name: str
    help: str
    commands: tuple[Command, ...]


def _output(*choices: str) -> Argument:
    return Argument(
        ("-o", "--output"),
        {
            "help": "table for people; json (timestamps ISO 8601, decimals as text) or csv for programs",
            "choices": choices,
            "default": "table",
        },
    )


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: write it as YYYY-MM-DD") from None


def _count(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")


def _number(flag: str, kind: type, default: float | None, text: str) -> Argument:
    return Argument((flag,), {"help": text, "type": kind, "default": default})


_LISTED = _output("table", "json")
_TABLE = Argument(("table",), {"help": "namespace.table, or a table of the default namespace"})
_BRANCH = Argument(("--branch",), {"help": "A branch instead of main", "default": "main"})
_CATALOG = "airflow_provider_phlo.cli.catalog"
_QUARANTINE = "airflow_provider_phlo.cli.quarantine"
_RECORDS = (
    Argument(("--run",), {"help": "Only what this run has set aside (its run_id)"}),
    Argument(("--reason",), {"help": "Only where the reason has this in it, a column or a check"}),
    Argument(("--date",), {"help": "Only of this partition date, YYYY-MM-DD", "type": _day}),
    Argument(("--id",), {"help": "Only these (quarantine_id)", "nargs": "+"}),
)
_MAINTENANCE = "airflow_provider_phlo.cli.maintenance"
_SCHEMA = "airflow_provider_phlo.cli.schema"
_DESCRIBED = "a table, package.module:Class, path.py:Class, or path.yml:model of a dbt model"
_MAINTENANCE_ARGUMENTS = (
    Argument(("tables",), {"help": 'Tables, * and ? allowed: "raw.*"', "nargs": "+"}),
    Argument(
        ("--jobs",),
        {
            "help": "Some of compaction,manifests,expiry,orphans (all by default)",
            "default": "compaction,manifests,expiry,orphans",
        },
    ),
    _number("--target-file-bytes", int, None, "Size of compacted files (the table's own setting, else 128 MiB)"),
    _number("--min-files", int, 2, "Compact a partition that has this many small files (2)"),
    _number("--snapshot-days", float, 7, "Expire snapshots that main left longer ago (7)"),
    _number("--keep-last", int, 10, "Keep this many snapshots of main, however old (10)"),
    _number("--branch-days", float, 7, "Drop branches of failed runs after this long (7)"),
    _number("--orphan-days", float, 3, "Remove unknown files that are older: longer than any writer runs (3)"),
    Argument(
        ("--force",),
        {"help": "Accept days below one hour: nothing may be using the tables then", "action": "store_true"},
    ),
    _LISTED,
)

COMMANDS: tuple[Command | Group, ...] = (
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
            _output("table", "json", "csv"),
        ),
    ),
    Group(
        name="catalog",
        help="Tables, their history, and the way back",
        commands=(
            Command(
                name="tables",
                help="List the tables of the catalog",
                path=f"{_CATALOG}.tables",
                arguments=(Argument(("--schema",), {"help": "Only of this namespace, e.g. raw"}), _LISTED),
            ),
            Command(
                name="describe",
                help="Show where and how a table is stored",
                path=f"{_CATALOG}.describe",
                arguments=(_TABLE, _LISTED),
            ),
            Command(
                name="history",
                help="List the snapshots of a table, newest first, with the runs that made them",
                path=f"{_CATALOG}.history",
                arguments=(
                    _TABLE,
                    Argument(("--limit",), {"help": "How many (10)", "type": _count, "default": 10}),
                    _BRANCH,
                    _LISTED,
                ),
            ),
            Command(
                name="branches",
                help="List the branches of runs that have not published",
                path=f"{_CATALOG}.kept_branches",
                arguments=(_TABLE, _LISTED),
            ),
            Command(
                name="rollback",
                help="Set a table back to an earlier snapshot, so that the runs after it can be run again",
                description=(
                    "Set main back to a snapshot of its history: rows, the marks of the runs and the state that their "
                    "sources go on from. Without --yes it is only said what that would undo. Exit code 1: it failed, "
                    "2: it was refused."
                ),
                path=f"{_CATALOG}.rollback",
                arguments=(
                    _TABLE,
                    Argument(("--to-snapshot",), {"help": "The snapshot's id (catalog history)", "type": int}),
                    Argument(("--to-time",), {"help": "What main was at a time, e.g. 2024-01-15T06:00:00Z"}),
                    Argument(("--yes",), {"help": "Do it", "action": "store_true"}),
                    _LISTED,
                ),
            ),
        ),
    ),
    Group(
        name="schema",
        help="What tables and models say about their columns",
        commands=(
            Command(
                name="list",
                help="List the tables with the models that describe them, and the models without a table",
                description=(
                    "List the tables of the catalog, the model that a DAG file (as its text says) or the dbt YAML in "
                    "include/dbt has for each, whether the table is as the model says (same, compatible, breaking), "
                    "and the models of include/schemas and include/dbt without a table. Run it in the project's folder."
                ),
                path=f"{_SCHEMA}.tables",
                arguments=(Argument(("--schema",), {"help": "Only tables of this namespace, e.g. raw"}), _LISTED),
            ),
            Command(
                name="show",
                help="Show every column: types, nullability, ranges, allowed values, rules",
                path=f"{_SCHEMA}.columns",
                arguments=(Argument(("schema",), {"help": _DESCRIBED[0].upper() + _DESCRIBED[1:]}), _LISTED),
            ),
            Command(
                name="diff",
                help="Say what differs between two schemas, and whom it breaks",
                description=(
                    "Say what differs when a table that is as OLD gets rows that are as NEW. Each of them is "
                    f"{_DESCRIBED}. Exit code 0: no difference, or a compatible one; 1: it breaks the table (the merge "
                    "is refused), producers or consumers; 2: one of them cannot be read."
                ),
                path=f"{_SCHEMA}.differences",
                arguments=(
                    Argument(("old",), {"help": "What is there"}),
                    Argument(("new",), {"help": "What comes"}),
                    _LISTED,
                ),
            ),
        ),
    ),
    Group(
        name="quarantine",
        help="Records that broke a rule: look at them, and read them once more after a fix",
        commands=(
            Command(
                name="list",
                help="Count them, by table, run, partition date and reason",
                path=f"{_QUARANTINE}.list_records",
                arguments=(Argument(("table",), {"help": "A table (all by default)", "nargs": "?"}), _LISTED),
            ),
            Command(
                name="show",
                help="List those that have not been replayed",
                description="List those that have not been replayed: reason, run, position. Never their values, unless "
                "--records asks for them: they may be personal.",
                path=f"{_QUARANTINE}.show_records",
                arguments=(
                    _TABLE,
                    *_RECORDS,
                    Argument(("--limit",), {"help": "How many (20)", "type": _count, "default": 20}),
                    Argument(("--records",), {"help": "Print the records too", "action": "store_true"}),
                    _LISTED,
                ),
            ),
            Command(
                name="replay",
                help="Ingest them after a fix of the schema or a transform",
                description="Ingest them by runs of the DAG that declares the table, one a partition date: with its "
                "schema, transforms, key, audit and engine as they are now. Those that go in are marked, those that "
                "fail again stay. A row that came after a record is not overwritten by it. Exit code 1: a run failed, "
                "2: it was refused.",
                path=f"{_QUARANTINE}.replay",
                arguments=(
                    _TABLE,
                    *_RECORDS,
                    Argument(("--dag",), {"help": "The DAG, where several fill the table"}),
                    Argument(("--no-wait",), {"help": "Do not wait for the runs", "action": "store_true"}),
                    _LISTED,
                ),
            ),
        ),
    ),
    Group(
        name="maintenance",
        help="Compact tables, expire snapshots, remove orphan files",
        commands=(
            Command(
                name="plan",
                help="Say what maintenance would do, and how much",
                path=f"{_MAINTENANCE}.plan",
                arguments=_MAINTENANCE_ARGUMENTS,
            ),
            Command(
                name="run",
                help="Do it; safe beside running writers",
                description="Do what plan says. Exit code 1: a table failed, 2: it was refused and nothing was done.",
                path=f"{_MAINTENANCE}.run",
                arguments=_MAINTENANCE_ARGUMENTS,
            ),
        ),
    ),
)


def get_phlo_cli_commands() -> list[CLICommand]:
    """Return the ``phlo`` group for Airflow's own command line."""
    from airflow.cli.cli_config import GroupCommand

    return [GroupCommand(name="phlo", help=HELP, subcommands=[_airflow_command(item) for item in COMMANDS])]


def _airflow_command(item: Command | Group) -> CLICommand:
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    if isinstance(item, Group):
        return GroupCommand(
            name=item.name, help=item.help, subcommands=[_airflow_command(command) for command in item.commands]
        )
    return ActionCommand(
        name=item.name,
        help=item.help,
        description=item.description or None,
        func=lazy_load_command(item.path),
        args=[
            Arg(argument.flags, **argument.options)  # type: ignore[no-untyped-call]
            for argument in item.arguments
        ],
    )
