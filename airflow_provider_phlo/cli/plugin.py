"""``phlo plugin``: what installed packages bring, and whether it can be used."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from airflow_provider_phlo.cli.definition import COMMANDS
from airflow_provider_phlo.cli.terminal.errors import FAILED
from airflow_provider_phlo.cli.terminal.output import Result, show, write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.extensions.outcomes import Trial, Verdict
from airflow_provider_phlo.extensions.states import Judgement, judge
from airflow_provider_phlo.extensions.trials import try_out
from airflow_provider_phlo.installed_plugins import Kind, Plugin, called, installed_plugins
from airflow_provider_phlo.scaffolding.plugins import write_plugin
from airflow_provider_phlo.suggestions import did_you_mean

_COLUMNS = ["kind", "name", "version", "package", "state", "why"]


def list_plugins(args: argparse.Namespace) -> None:
    """List plugins with their states."""
    found = judge(_installed(args.kind), _taken())
    if args.output == "json":
        show(Result(_COLUMNS, [_row(each) for each in found]), args.output)
        return
    if not found:
        write_lines(["No installed package brings plugins: phlo plugin new makes one."])
        return
    show(Result(_COLUMNS[:-1], [_row(each)[:-1] for each in found]), args.output)
    # whole: a table would cut it
    write_lines(
        f"{each.plugin.kind} {each.plugin.name} ({each.plugin.package}): {each.why}" for each in found if each.why
    )


def info(args: argparse.Namespace) -> None:
    """Show what there is to know of plugins of one name."""
    columns = [*_COLUMNS, "about", "arguments", "reference", "api", "seconds"]
    rows = [
        (
            *_row(each),
            each.facts.get("doc") or each.plugin.about,
            each.facts.get("signature", ""),
            each.plugin.reference,
            ", ".join(each.plugin.api),
            each.seconds,
        )
        for each in judge(_named(args.name, args.kind), _taken())
    ]
    if args.output == "json":
        show(Result(columns, rows), args.output)
        return
    for number, row in enumerate(rows):
        write_lines([""] if number else [])
        write_lines(f"{name + ':':<10} {value}" for name, value in zip(columns, row, strict=True) if value != "")


def check(args: argparse.Namespace) -> None:
    """Try plugins out; the exit code is 0 only if each keeps its promises."""
    wanted = [plugin for name in args.names for plugin in _named(name, args.kind)] or _installed(args.kind)
    if args.arguments is not None and [plugin.kind for plugin in wanted] not in ([Kind.SOURCE], [Kind.PUBLISHER]):
        raise ConfigurationError("--arguments are those of one source or publisher: name it, with --kind if need be.")
    found = [
        (judged.plugin, trial)
        for judged in judge(list(dict.fromkeys(wanted)), _taken())
        for trial in try_out(judged, args.arguments)
    ]
    if args.output == "json":
        columns = ["kind", "name", "package", "what", "verdict", "why"]
        rows = [
            (str(plugin.kind), plugin.name, plugin.package, trial.what, str(trial.verdict), trial.why)
            for plugin, trial in found
        ]
        show(Result(columns, rows), args.output)
    else:
        write_lines(_checked(found))
    if any(trial.verdict is Verdict.FAILED for _, trial in found):
        raise SystemExit(FAILED)


def new(args: argparse.Namespace) -> None:
    """Make a package with a plugin."""
    made, files = write_plugin(Path(args.folder), Kind(args.kind), _taken())
    if args.output == "json":
        show(
            Result(["kind", "name", "package", "files"], [(args.kind, made.command, made.package, files)]), args.output
        )
        return
    given = args.folder if not args.folder.startswith("-") else f"./{args.folder}"
    write_lines(
        [
            f"{args.folder}: {len(files)} files written: the {args.kind} {made.command}, its tests, a README.",
            f"Next: cd {shlex.quote(given)}, pip install -e '.[test]', pytest, phlo plugin check {made.command}.",
        ]
    )


_SIGNS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.FAILED: "✗"}


def _checked(found: list[tuple[Plugin, Trial]]) -> Iterator[str]:
    """Yield lines: each plugin, and below it what it does and does not."""
    for plugin, trials in groupby(found, key=lambda each: each[0]):
        yield f"{plugin.kind} {plugin.name} ({plugin.package} {plugin.version})"
        # one line for what several examples show alike
        for trial in dict.fromkeys(trial for _, trial in trials):
            yield f"  {_SIGNS[trial.verdict]} {trial.what}{f': {trial.why}' if trial.why else ''}"
    if not found:
        yield "No installed package brings plugins to check."


def _row(found: Judgement) -> tuple[str, str, str, str, str, str]:
    plugin = found.plugin
    return str(plugin.kind), plugin.name, plugin.version, plugin.package, str(found.state), found.why


def _installed(kind: str | None) -> list[Plugin]:
    return [plugin for plugin in installed_plugins() if kind in (None, plugin.kind)]


def _named(name: str, kind: str | None) -> list[Plugin]:
    """
    Return the plugins of a name.

    :raises ConfigurationError: there is none.
    """
    declared = _installed(kind)
    found = called(name, declared)
    if not found:
        names = sorted({plugin.name for plugin in declared})
        raise ConfigurationError(
            f"There is no plugin {name!r}; installed: {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
        )
    return found


def _taken() -> frozenset[str]:
    return frozenset(command.name for command in COMMANDS)
