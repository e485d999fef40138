"""Tests in which dbt itself works: projects that are parsed and built for real."""

from tests.quick_dbt import quick_dbt  # noqa: F401
from tests.unit.conftest import catalog, home, make_context  # noqa: F401  # fixtures
