"""``phlo api hasura export|track|diff``: what is served, as the metadata of a Hasura."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_phlo.cli.serving.api import differing, generating_command, served_models, write_file
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, show
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.serving.hasura.merging import Difference, Merged, Scope
from airflow_provider_phlo.serving.hasura.metadata import Metadata, hasura_metadata, metadata_yaml
from airflow_provider_phlo.serving.hasura.server import HasuraServer
from airflow_provider_phlo.serving.names import require_name

_ENDPOINT, _SECRET = "HASURA_GRAPHQL_ENDPOINT", "HASURA_GRAPHQL_ADMIN_SECRET"
_FILE = "hasura-metadata.yaml"


def export(args: argparse.Namespace) -> None:
    """Write the metadata; with --check only compare."""
    command = "api hasura export"
    metadata, _ = _metadata(args)
    path = Path(args.folder) / _FILE
    source = ("--source", args.source, "default")
    files = {path: metadata_yaml(metadata, generating_command(command, args, source))}
    _say(command, metadata.notes)
    if args.check:
        if problems := list(differing(files)):
            exit_with(command, "\n".join(problems), FAILED)
        print(f"{path}: as the {len(metadata.tables)} models say.")
        return
    write_file(path, files[path])
    print(f"{path}: {len(metadata.tables)} views.")


def tracked(args: argparse.Namespace) -> None:
    """Put what is served into a server's metadata."""
    from airflow_provider_phlo.serving.hasura.tracking import track

    metadata, scope = _metadata(args)
    merged = track(_server(args), metadata, scope)
    _print(merged, args.output)
    _say("api hasura track", (*metadata.notes, *merged.notes))
    if args.output == "table":
        print("Done." if merged.differences else "Nothing was changed: the server has what the models say.")


def differences(args: argparse.Namespace) -> None:
    """Show what differs; the exit code is 1 if something does."""
    from airflow_provider_phlo.serving.hasura.tracking import compare

    metadata, scope = _metadata(args)
    merged = compare(_server(args), metadata, scope)
    _print(merged, args.output)
    _say("api hasura diff", (*metadata.notes, *merged.notes))
    if merged.differences:
        raise SystemExit(FAILED)
    if args.output == "table":
        print("Nothing differs: the server has what the models say.")


def _metadata(args: argparse.Namespace) -> tuple[Metadata, Scope]:
    served, names = served_models(args)
    schema = require_name("--schema", args.schema)
    unchosen = {*names.values()} - {mart.name for mart in served.marts}
    scope = Scope(schema, unchosen, getattr(args, "prune", False))
    return hasura_metadata(served, schema, require_name("--source", args.source)), scope


def _server(args: argparse.Namespace) -> HasuraServer:
    """Return the server of the environment, as Hasura's own command line names it, else that of the connection."""
    if endpoint := os.environ.get(_ENDPOINT):
        return HasuraServer(endpoint, os.environ.get(_SECRET, ""), f"{_ENDPOINT} and {_SECRET}")
    from airflow_provider_phlo.hooks.hasura import hasura_address

    return HasuraServer(*hasura_address(args.conn_id), f"the connection {args.conn_id}")


def _print(merged: Merged, output: str) -> None:
    if merged.differences or output != "table":
        show(Result(["view", "change", "what"], [_row(each) for each in merged.differences]), output)


def _row(each: Difference) -> tuple[str, str, str]:
    return each.table, each.change, each.what


def _say(command: str, notes: Sequence[str]) -> None:
    for note in notes:
        print(f"phlo {command}: {printable(note)}", file=sys.stderr)
