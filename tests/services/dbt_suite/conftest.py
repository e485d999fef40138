"""dbt's own fixtures, over a catalog of its own for each class of tests."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt.tests.fixtures import project as of_dbt
from dbt.tests.util import check_relation_types

from airflow_provider_phlo.dbt.adapter.impl import PhloAdapter
from tests.quick_dbt import quick_dbt  # noqa: F401  # a fixture
from tests.services.dbt_suite.differences import DIFFERENCES
from tests.sizes import SOAK

# folders of the package that `make integration` has the time for
IN_CI = frozenset(
    {
        *("basic", "ephemeral", "incremental", "persist_docs", "simple_seed", "simple_snapshot"),
        *("constraints", "unit_testing"),
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is known to differ."""
    for item in items:
        name = getattr(getattr(item, "cls", None), "__name__", "")
        reason = DIFFERENCES.get(f"{name}.{getattr(item, 'originalname', '')}") or DIFFERENCES.get(name)
        if Path(__file__).parent not in item.path.parents:
            continue
        if reason:
            item.add_marker(pytest.mark.xfail(strict=True, reason=reason))
        folder = item.cls.__bases__[-1].__module__.split(".")[3]
        if not SOAK and (folder not in IN_CI or item.originalname.endswith("data_types")):
            item.add_marker(pytest.mark.skip(reason="PHLO_SOAK=1 runs it"))


globals().update({name: value for name, value in vars(of_dbt).items() if isinstance(value, type(pytest.fixture(abs)))})


@pytest.fixture(scope="class")
def folder_of_class(request: pytest.FixtureRequest) -> Path:
    """Return where the package has the class."""
    return Path(inspect.getfile(request.cls.__bases__[-1])).parent


@pytest.fixture(scope="class", autouse=True)
def catalog_of_class(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each class a catalog; SQL of the tests themselves is run, and stored, as a hook's is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHLO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(PhloAdapter, "run_sql_for_tests", _run_sql)
        module = sys.modules[request.cls.__bases__[-1].__module__]
        if hasattr(module, "check_relation_types"):
            patch.setattr(module, "check_relation_types", _check_tables)
        yield


def _check_tables(adapter: PhloAdapter, relation_to_type: dict[str, str]) -> None:
    """Check what exists: a view is kept as a table."""
    check_relation_types(adapter, {name: "table" for name in relation_to_type})


def _run_sql(adapter: PhloAdapter, sql: str, fetch: str, _: Any) -> Any:
    _, cursor = adapter.connections.add_query(sql, auto_begin=False)
    rows = cursor.fetchone() if fetch == "one" else cursor.fetchall() if fetch == "all" else None
    adapter.commit_if_has_connection()
    return rows


@pytest.fixture(scope="class")
def dbt_profile_target() -> dict[str, Any]:
    return {"type": "phlo", "threads": 4}


@pytest.fixture(scope="class")
def profile_user() -> None:
    """Nobody owns a table."""


@pytest.fixture(scope="class")
def unique_schema(request: pytest.FixtureRequest, prefix: str) -> str:
    """Name the schema after the package's module, as its texts have it."""
    return f"{prefix}_{request.cls.__bases__[-1].__module__.rpartition('.')[2]}"


@pytest.fixture(scope="class")
def logs_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Keep dbt's logs out of the repository."""
    folder = str(tmp_path_factory.mktemp("logs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_LOG_PATH", folder)
        yield folder


@pytest.fixture(scope="class")
def test_data_dir(tmp_path_factory: pytest.TempPathFactory, folder_of_class: Path) -> Path:
    """Return the package's files; tests that make some get a folder of their own."""
    data = folder_of_class / "data"
    return data if data.exists() else tmp_path_factory.mktemp("data") / "data"


@pytest.fixture(scope="class")
def project(project_setup: Any, project_files: None, folder_of_class: Path) -> Any:
    project_setup.test_dir = str(folder_of_class)
    return project_setup
