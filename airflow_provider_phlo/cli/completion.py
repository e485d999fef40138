"""``phlo completion``: what makes a shell complete commands and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.terminal.output import write_lines

if TYPE_CHECKING:
    import argparse


def print_script(args: argparse.Namespace) -> None:
    """Print the script; the completions themselves are asked of ``phlo`` on each tab."""
    from argcomplete.shell_integration import shellcode

    write_lines([shellcode(["phlo"], shell=args.shell).strip()])
