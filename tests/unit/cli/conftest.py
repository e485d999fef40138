"""What tests of commands share: a way to run one in this process."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_phlo.cli import main as cli


@pytest.fixture
def run_phlo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command on the embedded catalog, and gives its exit code and output."""
    # let it see no environment of another catalog
    monkeypatch.setattr(cli, "_enter_embedded_environment", lambda: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run
