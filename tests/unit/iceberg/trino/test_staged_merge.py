"""What is stored with the rows that Trino is to merge: old forms are read, newer ones refused."""

from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.trino.staged_merge import Claim, Intent

CLAIM = Claim("20240115_1", {"inserted": 1}, {"phlo.dlt-state": "s"})
INTENT = Intent("t", MergePlan(key=("id", "day")), 1, 2, "2024-01-15", (CLAIM,), True, 3.5)


@pytest.mark.parametrize("stored", [CLAIM, INTENT], ids=["claim", "intent"])
def test_what_is_stored_is_read_as_it_was_written(stored):
    assert json.loads(stored.to_json())["version"] == 1
    assert type(stored).from_json(stored.to_json()) == stored


@pytest.mark.parametrize("stored", [CLAIM, INTENT], ids=["claim", "intent"])
def test_what_was_stored_without_a_version_is_read(stored):
    content = json.loads(stored.to_json())
    del content["version"]
    assert type(stored).from_json(json.dumps(content)) == stored


@pytest.mark.parametrize("stored", [CLAIM, INTENT], ids=["claim", "intent"])
def test_what_a_newer_release_stored_is_refused(stored):
    content = {**json.loads(stored.to_json()), "version": 2, "more": 1}
    with pytest.raises(ConfigurationError, match=r"of a staged merge has format version 2, .* up to 1: upgrade"):
        type(stored).from_json(json.dumps(content))
