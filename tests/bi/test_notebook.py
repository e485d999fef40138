"""
The example notebook, on a published DuckDB file.

Its cells run one after the other in a fresh interpreter, without Jupyter: they use nothing of it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.bi import marts as made
from tests.bi.marts import Marts
from tests.bi.superset import ROOT
from tests.patience import PATIENCE

NOTEBOOK = ROOT / "include" / "notebooks" / "glucose.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_is_committed_without_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert len(code) > 2
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_its_cells_run_and_say_what_python_counts(marts: Marts, tmp_path: Path) -> None:
    program = tmp_path / "cells.py"
    program.write_text("\n\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"))
    environment = {"PATH": os.environ["PATH"], "PHLO_MARTS_FILE": str(marts.duckdb)}
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    values = [entry["sgv"] for entry in made.entries()]
    mean = statistics.fmean(values)
    variation = 100 * statistics.stdev(values) / mean
    figures = (
        f"{len(values):,} readings, mean {mean:.0f} mg/dL, GMI {3.31 + 0.02392 * mean:.1f} %, CV {variation:.1f} %"
    )
    assert figures in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[-24:]] == [str(hour) for hour in range(24)]
