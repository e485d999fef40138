"""Which project a command is about: the one it is given in, also below its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_phlo import settings
from airflow_provider_phlo.cli.terminal.environment import project_folder


@pytest.mark.parametrize(
    ("files", "here", "expected"),
    [
        (["phlo.yaml", "include/contracts/"], ".", "."),
        (["phlo.yaml", "include/contracts/"], "include/contracts", "../.."),
        (["phlo.yaml", "dags/inner/include/"], "dags/inner", "../.."),
        (["include/"], ".", "."),
        (["dags/"], "dags", None),
    ],
)
def test_the_folder_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], here: str, expected: str | None
) -> None:
    for name in files:
        path = tmp_path / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.write_text("")
    monkeypatch.chdir(tmp_path / here)
    monkeypatch.setattr(settings, "project_folder", lambda: Path("of the DAG files"))
    assert project_folder() == Path(expected or "of the DAG files")
