"""A group of commands: ``phlo example resources``."""

from __future__ import annotations

import argparse

from airflow_provider_phlo.cli import Command, Group, Result, output, show

GROUP = Group(
    name="example",
    help="What the example plugin has",
    commands=(
        Command(
            name="resources",
            help="List what the source jsonplaceholder can read",
            path="phlo_example.commands.resources",
            examples=("phlo example resources",),
            arguments=(output("table", "json"),),
            alone=True,
        ),
    ),
)


def resources(args: argparse.Namespace) -> None:
    """Print the names of the resources."""
    from phlo_example.sources import RESOURCES

    show(Result(["resource"], [(name,) for name in RESOURCES]), args.output)
