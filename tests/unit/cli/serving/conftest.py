from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit import raw_tables
from tests.unit.serving.conftest import api, connection, server

__all__ = ["api", "connection", "parsed", "server"]


@pytest.fixture(scope="session")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home in which the example project is parsed; what is compiled stays for the next test."""
    home = tmp_path_factory.mktemp("api")
    raw_tables.make_home(home)
    return home
