"""The references of configuration files are those of the models that read them."""

from __future__ import annotations

import pytest

from tests.configuration_page import DOCS, PAGES, page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_reference_is_that_of_the_models(path):
    assert path.read_text() == page(path), "run: python -m tests.configuration_page"


def test_rows_say_what_a_value_may_be():
    assert "| `infrastructure.metadata_database` | `sqlite` or `postgres` |" in page(DOCS / "operations.md")
    alerts = page(DOCS / "alerts.md")
    assert "| `rules[].resolve_after` | length of time | `10m` |" in alerts
    assert "| `quiet_hours[].from` | time of day |  |" in alerts
