"""``phlo superset`` in this process."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import pytest

from airflow_provider_phlo.cli.main import main
from tests.bi.marts import Marts
from tests.bi.superset import ROOT, RunningSuperset


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def phlo(
    superset: RunningSuperset, marts: Marts, command: str, *options: str, folder: Path = ROOT / "include" / "superset"
) -> Done:
    """Run ``phlo superset <command>`` on a folder and a Superset."""
    arguments = ["superset", command, "--url", superset.url, "--folder", str(folder), *options]
    if command != "export":
        arguments += ["--database-uri", marts.uri]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setenv("PHLO_SUPERSET_PASSWORD", superset.password)
        patch.setenv("PHLO_MARTS_READER_PASSWORD", marts.password)
        try:
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
