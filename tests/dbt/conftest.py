"""Tests in which dbt itself works: projects that are parsed and built for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dbt.own_project import write_project
from tests.quick_dbt import quick_dbt  # noqa: F401
from tests.unit.conftest import catalog, home, make_context  # noqa: F401  # fixtures


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a dbt project of the test module's ``FILES``."""
    return write_project(tmp_path_factory.mktemp("dbt") / "shop", request.module.FILES)
