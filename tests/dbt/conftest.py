"""Tests in which dbt itself works: projects that are parsed and built for real."""

from tests.unit.conftest import catalog, home, make_context  # noqa: F401  # fixtures
