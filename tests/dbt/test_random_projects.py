"""Random dbt projects: what the adapter makes of each run is what dbt-duckdb does, or a type is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dbt.random_projects import Writer
from tests.dbt.two_engines import differences
from tests.sizes import size


@pytest.mark.parametrize("seed", range(size(3, 500)))
def test_runs_end_alike_and_leave_the_same(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``Writer(seed).history().only("m3")`` is the smaller project of a node that differs."""
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    found = list(differences(tmp_path, Writer(seed).history()))
    assert not found, "\n".join(map(str, found))
