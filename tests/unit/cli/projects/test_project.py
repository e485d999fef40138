"""``phlo test`` and ``phlo env``: what they pass on, and what they say outside of a project."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_phlo.cli.main import _parser


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ([], []),
        (["-k", "import", "-x"], ["-k", "import", "-x"]),
        (["-v"], ["-v"]),
        (["tests/test_dags.py", "-q", "--maxfail=1"], ["tests/test_dags.py", "-q", "--maxfail=1"]),
        (["--", "--help"], ["--help"]),
        (["-k", "a", "--", "-b"], ["-k", "a", "--", "-b"]),
    ],
)
def test_arguments_of_pytest_are_passed_on(given: list[str], passed_on: list[str]) -> None:
    assert _parser().parse_args(["test", *given]).arguments == passed_on


def test_help_is_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["test", "--help"])
    assert "phlo test -- --help" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["test", "env"])
def test_a_folder_outside_of_a_project_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_phlo(command)
    assert (code, out) == (2, "")
    assert "is not in a project" in err
    assert list(tmp_path.iterdir()) == []
