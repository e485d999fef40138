"""``phlo superset``: dashboards as files, and in a Superset that runs."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, show
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.superset.assets import Asset, read_archive, read_folder, to_archive, to_yaml
from airflow_provider_phlo.serving.superset.importing import (
    Compared,
    State,
    compare,
    on_database,
    passwords_for,
    require_unedited,
)

if TYPE_CHECKING:
    from airflow_provider_phlo.serving.superset.server import Superset

PASSWORD = "PHLO_SUPERSET_PASSWORD"  # noqa: S105 - the name of a variable
DATABASE_PASSWORD = "PHLO_MARTS_READER_PASSWORD"  # noqa: S105 - the name of a variable


def import_assets(args: argparse.Namespace) -> None:
    """Bring files into Superset; what differs there is refused, kept or overwritten."""
    if args.overwrite and args.keep:
        raise ConfigurationError("--keep leaves what differs alone and --overwrite replaces it: choose one.")
    files = _files(args)
    server = _connect(args)
    archive = server.export()
    compared = compare(files, read_archive(archive))
    if not args.overwrite and not args.keep:
        require_unedited(compared)
    # with --overwrite everything: a password is nothing that could be compared
    sent = [each.asset for each in compared if args.overwrite or each.state is State.MISSING]
    if sent:
        passwords = passwords_for(sent, os.environ.get(DATABASE_PASSWORD), DATABASE_PASSWORD)
        if any(each.state is State.DIFFERS for each in compared) and args.overwrite:
            print(f"What Superset had is in {_kept(archive)}.")
        server.import_assets(to_archive(sent), passwords)
        _require_arrival(server, sent)
    _print(compared, {each.uuid for each in sent}, args.output)


def export(args: argparse.Namespace) -> None:
    """Write dashboards, and what they are made of, to files."""
    from airflow_provider_phlo.cli.serving.api import write_file
    from airflow_provider_phlo.serving.superset.exporting import to_export

    folder = Path(args.folder)
    files = read_folder(folder) if not args.dashboard or folder.is_dir() else {}
    written = to_export(read_archive(_connect(args).export()), files, args.dashboard or ())
    for asset in written:
        write_file(folder / asset.path, to_yaml(asset.content))
    show(
        Result(["written", "kind", "name"], [(str(folder / each.path), each.kind, each.name) for each in written]),
        args.output,
    )


def diff(args: argparse.Namespace) -> None:
    """Say where files and Superset differ."""
    compared = compare(_files(args), read_archive(_connect(args).export()))
    _print(compared, set(), args.output)
    if any(each.state is not State.SAME for each in compared):
        exit_with("superset diff", "Superset does not have what the files say.", FAILED)


def _files(args: argparse.Namespace) -> dict[str, Asset]:
    files = read_folder(Path(args.folder))
    return on_database(files, args.database_uri) if args.database_uri else files


def _connect(args: argparse.Namespace) -> Superset:
    from airflow_provider_phlo.serving.superset.server import Superset

    password = os.environ.get(PASSWORD)
    if not password:
        raise ConfigurationError(f"Set {PASSWORD} to the password of Superset's user {args.user}.")
    return Superset(args.url, args.user, password)


def _kept(archive: bytes) -> Path:
    """Write what Superset has beside the other state, readable by its owner only."""
    from airflow_provider_phlo import settings

    folder = settings.home() / "superset"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"before_{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}.zip"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(archive)
    return path


def _require_arrival(server: Superset, sent: Iterable[Asset]) -> None:
    """Check that Superset now has what it was sent; end with exit code 1 if not, as it was changed."""
    after = compare({each.uuid: each for each in sent}, read_archive(server.export()))
    lost = [each for each in after if each.state is not State.SAME]
    if lost:
        named = "; ".join(f"{each.asset.path}: {', '.join(each.places[:5]) or each.state}" for each in lost[:10])
        exit_with("superset import", f"Superset took the files, but does not have all that they say: {named}.", FAILED)


def _print(compared: Iterable[Compared], sent: set[str], output: str) -> None:
    rows = []
    for each in compared:
        action = _action(each, each.asset.uuid in sent) if sent else str(each.state)
        rows.append((each.asset.kind, each.asset.name, action, ", ".join(each.places) or None))
    show(Result(["kind", "name", "state", "differs in"], rows), output)


def _action(compared: Compared, was_sent: bool) -> str:
    if not was_sent:
        return "kept as edited" if compared.state is State.DIFFERS else str(compared.state)
    return "created" if compared.state is State.MISSING else "overwritten"
