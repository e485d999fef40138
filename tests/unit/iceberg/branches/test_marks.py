"""The mark of a run: what was written before marks had a version is read, what a newer release wrote is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.marks import (
    MARK_DAYS,
    MARK_PREFIX,
    MARKS_KEPT,
    Mark,
    find_published_result,
    tidy_marks,
)

DAY_MS = 86_400_000


def marked(**fields: object) -> SimpleNamespace:
    """Return what is read of a table: its properties, with the mark of the run "t"."""
    return SimpleNamespace(properties={f"{MARK_PREFIX}t": json.dumps(fields)})


def test_a_mark_is_read_as_it_was_written():
    mark = Mark(12, {"inserted": 1})
    assert json.loads(mark.to_json()) == {"version": 1, "at": 12, "result": {"inserted": 1}}
    assert Mark.from_json(mark.to_json()) == mark


def test_a_mark_without_a_version_is_read():
    assert find_published_result(marked(at=1, result={"inserted": 1}), "t") == {"inserted": 1}
    assert find_published_result(marked(at=1, result={}), "other") is None


def test_a_mark_of_a_newer_release_is_refused():
    with pytest.raises(ConfigurationError, match=r"mark of a run has format version 2, .* up to 1: upgrade"):
        find_published_result(marked(version=2, what="ever"), "t")


def test_marks_of_a_newer_release_are_never_removed():
    old = {f"{MARK_PREFIX}{number}": Mark(number, {}).to_json() for number in range(MARKS_KEPT + 2)}
    newer = {f"{MARK_PREFIX}newer": json.dumps({"version": 2, "when": "long ago"})}
    _, stale = tidy_marks({**old, **newer}, (MARK_DAYS + 1) * DAY_MS)
    assert sorted(stale) == [f"{MARK_PREFIX}0", f"{MARK_PREFIX}1"]
