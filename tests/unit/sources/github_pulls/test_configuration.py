from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sources.github_pulls.configuration import configuration

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def made(**values):
    return configuration({"organizations": ["octo-org"], **values}, now=NOW)


def test_defaults():
    found = made(since=None, partition_date="2026-11-28", concurrency=None)
    assert (found.organizations, found.since, found.from_stage) == (("octo-org",), None, False)
    assert (found.concurrency, found.parallel_tasks, found.requests_per_minute) == (4, 4, 900)
    assert (found.max_chunks, found.chunk_size) == (24, 250)


def test_an_account_is_read_once_whatever_its_case():
    assert made(organizations=["Octo-Org", " octo-org ", "ada", "OCTO-ORG"]).organizations == ("Octo-Org", "ada")


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("", None),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T09:00:00Z", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01t09:00:00.5z", datetime(2026, 3, 1, 9, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-03-01 09:00:00+05:30", datetime(2026, 3, 1, 3, 30, tzinfo=UTC)),
        (datetime(2026, 3, 1, 9, tzinfo=timezone(timedelta(hours=-2))), datetime(2026, 3, 1, 11, tzinfo=UTC)),
        # the night in which Europe's clocks go forward, and the hour that there is twice in autumn
        ("2026-03-29", datetime(2026, 3, 29, tzinfo=UTC)),
        ("2026-03-29T03:00:00+02:00", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("2026-10-25T02:30:00+02:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-10-25T02:30:00+01:00", datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    ],
)
def test_since_is_an_instant(since, expected):
    assert made(since=since).since == expected


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("2026-03-29T02:30:00", "it has no offset from UTC"),
        (datetime(2026, 3, 29, 2, 30), "it has no offset from UTC"),
        ("2026-02-30", "there is no such time"),
        ("2026-03-01T25:00:00Z", "there is no such time"),
        ("0001-01-01T00:00:00+23:00", "there is no such time"),
        ("yesterday", "give a date"),
        ("2026-W10-1", "give a date"),
        (1_772_323_200, "give a date"),
        (True, "give a date"),
        ("2026-11-29", "lies in the future"),
    ],
)
def test_a_since_that_names_no_instant_is_refused(since, message):
    with pytest.raises(ConfigurationError, match=f"since = .*{message}"):
        made(since=since)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"organizations": None}, "organizations = None: give a list"),
        ({"organizations": []}, r"organizations = \[\]: give a list"),
        ({"organizations": "octo-org"}, r"give a list of logins .*\{\"organizations\": \[\"octo-org\"\]\}"),
        ({"organizations": ["a", "octo org"]}, "entry 2: 'octo org' is not a login"),
        ({"organizations": ["../repos/x"]}, "entry 1"),
        ({"organizations": ["a" * 300]}, "entry 1"),
        ({"organizations": [7]}, "entry 1: 7"),
        ({"organisations": ["octo-org"]}, "unknown parameter 'organisations': a run takes chunk_size, .*organizations"),
        ({"concurrency": 0}, "concurrency = 0: give a whole number from 1 to 50"),
        ({"concurrency": True}, "concurrency = True"),
        ({"parallel_tasks": 4}, "unknown parameter 'parallel_tasks'"),
        ({"max_chunks": 2.0}, "max_chunks = 2.0"),
        ({"from_stage": True, "since": "2026-03-01"}, "since is what GitHub is asked for.* give .* as partition_date"),
        ({"from_stage": "yes"}, "from_stage = 'yes': give true or false"),
    ],
)
def test_what_is_wrong_is_refused_by_name(values, message):
    with pytest.raises(ConfigurationError, match=message):
        made(**values)
