"""``phlo api generate-views``: what PostgREST serves, as files and in the database."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.serving.projects import read_projects
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, show
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.serving.marts import Served, names_of, read_served
from airflow_provider_phlo.serving.names import require_name
from airflow_provider_phlo.serving.postgrest.login import require_new
from airflow_provider_phlo.serving.postgrest.readme import readme
from airflow_provider_phlo.serving.postgrest.script import views_sql
from airflow_provider_phlo.serving.postgrest.statements import Target

if TYPE_CHECKING:
    import psycopg

    from airflow_provider_phlo.serving.postgrest.applying import Applied

_NAME = "api generate-views"
MODELS = ("mrt_*",)


def generate_views(args: argparse.Namespace) -> None:
    """Write the files; with --apply change the database, with --check only compare."""
    _require_sense(args)
    served, names = served_models(args)
    target = Target(require_name("--marts-schema", args.marts_schema), require_name("--schema", args.schema))
    files = _files(args, served, target)
    if args.check:
        _check(files, served)
        return
    _say_what_is_not_followed(served)
    if args.withdraw:
        _withdraw(args, served, target)
        return
    if not args.apply:
        _write(files)
        _print_views(served, target, args.output)
        return
    from airflow_provider_phlo.serving.postgrest.applying import apply_served

    with connect_to_marts(args.conn_id) as connection:
        applied = apply_served(connection, served, target, names, prune=args.prune)
        _write(files)  # what the database refuses is not what is committed and reviewed
        _print_applied(applied, args.output)
        if args.login:
            _give_login(connection, Path(args.login))


def _require_sense(args: argparse.Namespace) -> None:
    """Check that options do not contradict each other."""
    if args.check and (args.apply or args.prune or args.login):
        raise ConfigurationError("--check changes nothing: leave out --apply, --prune and --login.")
    if (args.prune or args.login) and not args.apply:
        raise ConfigurationError("--prune and --login change the database: add --apply.")
    if args.withdraw and (args.apply or args.check):
        raise ConfigurationError("--withdraw drops views, and does nothing else: leave out --apply and --check.")
    if args.withdraw and not args.models:
        raise ConfigurationError("--withdraw drops views: name the models (--models).")
    if args.schema == args.marts_schema:
        raise ConfigurationError(
            f"--schema and --marts-schema are both {args.schema}: PostgREST would serve the marts themselves. Give the "
            "views a schema of their own."
        )
    if args.login:
        require_new(Path(args.login))


def _withdraw(args: argparse.Namespace, served: Served, target: Target) -> None:
    from airflow_provider_phlo.serving.postgrest.applying import withdraw

    with connect_to_marts(args.conn_id) as connection:
        dropped = withdraw(connection, {mart.model for mart in served.marts}, target)
    names = ", ".join(f"{target.schema}.{name}" for name in dropped)
    print(
        f"Dropped {names}: phlo {_NAME} --apply makes them again." if dropped else "There was no view of these models."
    )


def served_models(args: argparse.Namespace) -> tuple[Served, dict[str, str]]:
    """Return what is served of the models that are chosen, and the names that all models would have."""
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.serving.columns import known_columns

    projects = read_projects(args.project)
    columns = known_columns(projects, settings.home() / "lineage")
    manifests = [project.manifest for project in projects]
    return read_served(manifests, args.models or MODELS, columns), names_of(manifests)


def _say_what_is_not_followed(served: Served) -> None:
    """Name what is served of models that restrict it themselves, where nobody has said that it is meant."""
    for mart in served.marts:
        notes = []
        if mart.computed:
            made = ", ".join(f"{name} (of {source})" for name, source in mart.computed.items())
            notes.append(f"serves what is computed from pii: {made}. Say of each, in meta, pii: true or pii: false.")
        if mart.policed:
            made = ", ".join(mart.policed)
            notes.append(
                f"serves all rows of what is built on {made}, which has a row policy. Give it a meta.api_policy too; "
                "true if everybody may see all of them."
            )
        for note in notes:
            print(f"phlo {_NAME}: {printable(f'{mart.name} {note}')}", file=sys.stderr)


def _files(args: argparse.Namespace, served: Served, target: Target) -> dict[Path, str]:
    folder = Path(args.folder)
    command = generating_command(_NAME, args)
    return {
        folder / "views.sql": views_sql(served, target, command),
        folder / "README.md": readme(served, target, command),
    }


def _write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        write_file(path, text)


def generating_command(command: str, args: argparse.Namespace, *more: tuple[str, str, str]) -> str:
    """
    Return the command that makes a file: the same however its folders are spelled, and without what is as by default.

    :param more: other options, with value and default.
    """
    from shlex import quote

    parts = ["phlo", *command.split()]
    projects = [os.path.relpath(each) for each in args.project or ()]
    for flag, value in (("--models", args.models or MODELS), ("--project", projects)):
        parts += [part for each in value for part in (flag, quote(each))]
    schemas = (("--schema", args.schema, "api"), ("--marts-schema", args.marts_schema, "marts"))
    for flag, value, default in (*schemas, *more):
        parts += [flag, quote(value)] if value != default else []
    return " ".join(parts)


def write_file(path: Path, text: str) -> None:
    """Replace a file at once, unless it says the same already."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() == text.encode():
            return
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


def _check(files: Mapping[Path, str], served: Served) -> None:
    problems = list(differing(files))
    if problems:
        exit_with(_NAME, "\n".join(problems), FAILED)
    print(f"{', '.join(map(str, files))}: as the {len(served.marts)} models say.")


def differing(files: Mapping[Path, str]) -> Iterator[str]:
    """Yield which files are not as they would be written now, with the first lines that differ."""
    for path, text in files.items():
        try:
            there = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            yield f"{path} is not there: generate it, and commit it."
            continue
        except (OSError, ValueError) as error:
            yield f"{path} cannot be read ({type(error).__name__})."
            continue
        if there != text:
            lines = list(difflib.unified_diff(there.splitlines(), text.splitlines(), n=0, lineterm=""))
            # after the names of the two; a comment of SQL that is gone begins with --- too
            shown = [printable(line) for line in lines[2:] if not line.startswith("@@")][:10]
            yield "\n  ".join([f"{path} is not what the models say: generate it again, and commit it.", *shown])


def _print_views(served: Served, target: Target, output: str) -> None:
    rows = [
        (
            f"{target.schema}.{mart.name}",
            f"{target.marts}.{mart.table}",
            len(mart.columns) or None,
            ", ".join(mart.roles) or None,
            ", ".join(mart.policies) or None,
            ", ".join(mart.left_out) or None,
        )
        for mart in served.marts
    ]
    show(Result(["view", "mart", "columns", "read by", "row policies for", "left out (pii)"], rows), output)


def _print_applied(applied: Applied, output: str) -> None:
    rows = [(each.view, each.mart, str(each.action), each.reason or None) for each in applied.views]
    show(Result(["view", "mart", "action", "reason"], rows), output)
    for note in applied.notes:
        print(f"phlo {_NAME}: {printable(note)}", file=sys.stderr)
    waiting = [each.mart for each in applied.views if each.action == "not published"]
    if waiting:
        print(
            f"phlo {_NAME}: not published yet, and so without a view: {', '.join(waiting)}. Publish them, then apply "
            "again.",
            file=sys.stderr,
        )
    if output == "table" and not applied.changed:
        print("Nothing was changed: the database is as the models say.")


@contextmanager
def connect_to_marts(conn_id: str) -> Iterator[psycopg.Connection]:
    """
    Connect to the database that marts are published to, as who may make roles where it is the bundled one.

    :raises ConfigurationError: it cannot be reached.
    """
    import psycopg

    from airflow_provider_phlo import settings
    from airflow_provider_phlo.library_errors import describe
    from airflow_provider_phlo.without_airflow import is_connection_unset

    if conn_id == "postgres_default" and is_connection_unset(conn_id):
        from airflow_provider_phlo.services.postgres.server import allow_roles

        parameters = {"conninfo": allow_roles(settings.home()).uri}
    else:
        from airflow_provider_phlo.hooks.postgres import postgres_coordinates

        parameters = postgres_coordinates(conn_id, roles=True)
    try:
        connection = psycopg.connect(**parameters, autocommit=True)
    except psycopg.OperationalError as error:
        raise ConfigurationError(f"The database of {conn_id} cannot be reached: {describe(error)}.") from None
    with connection:
        yield connection


def _give_login(connection: psycopg.Connection, path: Path) -> None:
    from airflow_provider_phlo.serving.postgrest.login import give_login

    print(give_login(connection, path))
