"""What tests of alerts share."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_phlo.alerts.rules.reading import read_file
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Severity, Verdict

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def verdict(passed=False, at=NOW, *, check="null_check(id)", table="raw.readings", **more):
    """Return what was seen of a check."""
    values = {
        "rule": RuleKind.QUALITY_CHECK_FAILED,
        "severity": Severity.ERROR,
        "message": f"{check} failed: 3 of 40 rows." if passed is False else "It passed.",
        "facts": {"failed": 3, "row_count": 40},
        **more,
    }
    return Verdict(table=table, subject=check, passed=passed, observed_at=at, **values)


def minutes(number):
    return timedelta(minutes=number)


@pytest.fixture
def configure(tmp_path):
    """Return a function that reads a configuration."""

    def read(text, **variables):
        path = tmp_path / "config.yaml"
        path.write_text(textwrap.dedent(text))
        return read_file(path, variables)

    return read
