"""``phlo logs``: what tasks log, as one stream."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.cli.terminal import styles
from airflow_provider_phlo.cli.terminal.output import plain, terminal_width, write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.run_logs.entries import LEVELS, AttemptKey, Entry, is_fold
from airflow_provider_phlo.run_logs.folder import FolderLogs
from airflow_provider_phlo.run_logs.folder_names import FolderNames
from airflow_provider_phlo.run_logs.names import Assets, check_dag, check_run
from airflow_provider_phlo.run_logs.server import ServerLogs
from airflow_provider_phlo.run_logs.source import Source, Wanted
from airflow_provider_phlo.run_logs.stream import followed, merged
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine.roots import find_root
from airflow_provider_phlo.services.supervising import airflow_login

_BY_DEFAULT = timedelta(hours=1)
_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red", "critical": "bold red"}
# narrower terminals show whose lines these are on lines of their own
_NARROW = 80
# what tasks colour their own lines with
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def logs(args: argparse.Namespace) -> None:
    """Show what tasks log."""
    since = _since(args)
    source, assets, wanted = _found(args, since)
    show = _as_json(assets) if args.output == "json" else _Lines(assets, terminal_width(), styles.has_colours()).of
    stream = followed(source, wanted, _say) if args.follow else merged(source, source.attempts(wanted))
    shown = 0

    def lines() -> Iterator[str]:
        nonlocal shown
        for entry in stream:
            if entry is None:
                sys.stdout.flush()
            elif _is_wanted(entry, since, args):
                shown += 1
                yield from show(entry)

    write_lines(lines(), live=True)
    if not shown:
        _say(f"Nothing was logged{_period(args, since)}.")


def _since(args: argparse.Namespace) -> datetime | None:
    given = args.since or (None if args.run else _BY_DEFAULT)
    return datetime.now(UTC) - given if isinstance(given, timedelta) else given


def _period(args: argparse.Namespace, since: datetime | None) -> str:
    narrowed = any((args.asset, args.dag, args.run, args.level, args.grep))
    what = " that fits" if narrowed else ""
    return f"{what} since {since:%Y-%m-%d %H:%M} UTC: --since 7d looks further back" if since else what


def _found(args: argparse.Namespace, since: datetime | None) -> tuple[Source, Assets, Wanted]:
    """Return where logs are read from: the server, or the files of this machine where none answers."""
    try:
        api = airflow_login.connect(args.api_url)
    except ConfigurationError as error:
        folder = None if args.api_url or os.environ.get(airflow_login.URL) else _folder()
        if folder is None:
            raise
        wanted = _asked_of_files(FolderNames(folder), args, since)
        _say(f"{error} These are the files in {folder}.")
        return FolderLogs(folder, follows=args.follow), Assets(), wanted
    return ServerLogs(api), *_asked(api, args, since)


def _asked(api: AirflowApi, args: argparse.Namespace, since: datetime | None) -> tuple[Assets, Wanted]:
    if args.dag:
        check_dag(api, args.dag)
    if args.run:
        check_run(api, args.run, args.dag)
    assets = Assets.read(api)
    return assets, _wanted(args, since, assets.makers(args.asset) if args.asset else None)


def _asked_of_files(names: FolderNames, args: argparse.Namespace, since: datetime | None) -> Wanted:
    if args.dag:
        names.check_dag(args.dag)
    if args.run:
        names.check_run(args.run, args.dag)
    return _wanted(args, since, names.makers(args.asset) if args.asset else None)


def _wanted(args: argparse.Namespace, since: datetime | None, tasks: Mapping[str, tuple[str, ...]] | None) -> Wanted:
    if tasks is not None and args.dag and args.dag not in tasks:
        raise ConfigurationError(
            f"DAG {args.dag} does not make {args.asset}. It is made by {' and '.join(sorted(tasks))}."
        )
    return Wanted(since, args.dag, args.run, tasks)


def _folder() -> Path | None:
    root = find_root(Path.cwd())
    if root is None and not os.environ.get("PHLO_HOME"):
        return None
    folder = embedded.resolve_home(root or Path.cwd(), os.environ) / "logs"
    return folder if any(folder.glob("dag_id=*")) else None


def _is_wanted(entry: Entry, since: datetime | None, args: argparse.Namespace) -> bool:
    if since is not None and entry.at is not None and entry.at < since:
        return False
    if is_fold(entry) or (args.level and LEVELS.index(entry.level) < LEVELS.index(args.level)):
        return False
    return args.grep is None or args.grep.search(entry.text) is not None


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _as_json(assets: Assets) -> Callable[[Entry], Iterator[str]]:
    def line(entry: Entry) -> Iterator[str]:
        key = entry.key
        content = {
            "at": entry.at,
            "level": entry.level,
            "dag_id": key.dag_id,
            "run_id": key.run_id,
            "task_id": key.task_id,
            "map_index": key.map_index,
            "try_number": key.number,
            "asset": assets.made_by(key.dag_id, key.task_id) or None,
            "logger": entry.logger or None,
            "text": entry.text,
        }
        # a lone surrogate is text to JSON, and not to an output
        text = json.dumps({name: plain(value) for name, value in content.items()}, ensure_ascii=False)
        yield text.encode("utf-8", "backslashreplace").decode()

    return line


@dataclass
class _Lines:
    """
    Lines for people.

    :param width: of the terminal; None if there is no terminal.
    """

    assets: Assets
    width: int | None
    colours: bool
    last: AttemptKey | None = None

    def of(self, entry: Entry) -> Iterator[str]:
        """Yield the lines of a message: its own, and indented those of a traceback."""
        style = _STYLES[entry.level]
        first, *more = entry.text.splitlines() or [""]
        at = "" if entry.at is None else f"{entry.at:%m-%d %H:%M:%S}"
        start = f"{self._painted(f'{at:14}', 'dim')} {self._painted(f'{entry.level.upper():8}', style)}"
        whose = self._painted(printable(entry.key.name), self._hue(entry.key))
        if self.width is not None and self.width < _NARROW:
            if entry.key != self.last:
                yield whose
            start, whose = f"{self._painted(at[6:], 'dim')} {self._painted(entry.level[:4].upper(), style)}", ""
        self.last = entry.key
        yield f"{start} {whose}{' ' if whose else ''}{self._painted(_shown(first), style)}".rstrip()
        yield from (f"    {self._painted(_shown(line), style)}".rstrip() for line in more)

    def _painted(self, text: str, style: str) -> str:
        return styles.paint(text, style, shown=self.colours)

    def _hue(self, key: AttemptKey) -> str:
        """Return the colour of an asset, or of a task that makes none: always the same."""
        name = self.assets.made_by(key.dag_id, key.task_id) or f"{key.dag_id}.{key.task_id}"
        return styles.HUES[zlib.crc32(name.encode()) % len(styles.HUES)]


def _shown(line: str) -> str:
    return printable(_COLOURS.sub("", line).expandtabs(4))
