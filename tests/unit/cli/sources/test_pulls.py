"""``phlo pulls``: which staged batches are listed, and which are loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_phlo.warehouse.stage import Stage


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of empty batches of two organizations, in the order of writing."""
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    stage, names = Stage(tmp_path / "stage"), []
    for organization, date in [("Octo-Org", "2026-11-26"), ("x", "2026-11-27"), ("Octo-Org", "2026-11-28")]:
        with stage.writer(organization, date, f"t{len(names)}") as writer:
            pass
        assert writer.batch is not None
        names.append(writer.batch.name)
    return names


def test_batches_are_listed_by_organization_and_day(written: list[str], run_phlo) -> None:
    def listed(*arguments: str) -> list[str]:
        code, out, _ = run_phlo("pulls", "staged", *arguments, "--output", "json")
        assert code == 0
        return [row["batch"] for row in json.loads(out)]

    assert listed() == written
    assert listed("--organization", "octo-org") == [written[0], written[2]]
    assert listed("--organization", "octo-org", "--date", "2026-11-28") == [written[2]]
    assert listed("--date", "2026-11-25") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--organization", "nobody"], "Nothing is staged of nobody in"),
        (["--organization", "x", "--since", "2026-11-28"], "Nothing is staged of x since 2026-11-28 in"),
        (["--since", "2026-11-29"], "nothing is staged since 2026-11-29 in"),
        (["--date", "2026-11-28"], "--date"),
    ],
)
def test_a_load_of_nothing_is_refused(written: list[str], run_phlo, arguments: list[str], message: str) -> None:
    code, _, err = run_phlo("pulls", "load", "--from-stage", *arguments)
    assert code == 2
    assert message in err


def test_a_load_takes_the_batches_from_a_day_on(written: list[str], run_phlo) -> None:
    code, out, err = run_phlo("pulls", "load", "--from-stage", "--since", "2026-11-27", "--output", "json")
    assert (code, err) == (0, "")
    assert {row["rows"] for row in json.loads(out)} == {0}
