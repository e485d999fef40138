"""The commands."""

from __future__ import annotations

import argparse

from airflow_provider_phlo.cli import Argument, Command, Group, Result, output, show

GROUP = Group(
    name="plugin-name",
    help="Commands of plugin-package",
    commands=(
        Command(
            name="squares",
            help="List square numbers",
            path="plugin_module.commands.squares",
            examples=("phlo plugin-name squares 3",),
            arguments=(
                Argument(("count",), {"help": "How many", "type": int}),
                output("table", "json"),
            ),
            # it needs no project: other commands run in the environment of one
            alone=True,
        ),
    ),
)


def squares(args: argparse.Namespace) -> None:
    """Print them."""
    show(Result(["number", "square"], [(number, number**2) for number in range(1, args.count + 1)]), args.output)
