"""``phlo quarantine``: counts and reasons; values only if asked for."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.expect import expect
from tests.unit.ingestion.test_quarantine import House, records


@pytest.fixture
def phlo(home: Path, run_phlo: Any) -> Any:
    """Return a function that runs a command of the group."""
    house = House(home)
    house.run("one", records((1, 1), (2, 200), ("secret", 1)))
    house.run("two", records((3, 300)))
    return partial(run_phlo, "quarantine")


def listed(phlo: Any, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = phlo(*arguments, "--output", "json")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def test_list(phlo: Any) -> None:
    found = listed(phlo, "list")
    assert [(row["table"], row["run_id"], row["reason"], row["records"], row["waiting"]) for row in found] == [
        ("raw.t", "run one", "k: is_integer", 1, 1),
        ("raw.t", "run one", "v: less_than_or_equal_to(100)", 1, 1),
        ("raw.t", "run two", "v: less_than_or_equal_to(100)", 1, 1),
    ]
    assert listed(phlo, "list", "t") == found


def test_show_prints_no_value_unless_asked(phlo: Any) -> None:
    for output in ("json", "table"):
        _, out, _ = phlo("show", "t", "--output", output)
        assert "is_integer" in out
        assert "secret" not in out
    assert [json.loads(row["record"])["k"] for row in listed(phlo, "show", "t", "--records")] == [2, "secret", 3]


def test_show_takes_filters(phlo: Any) -> None:
    [found] = listed(phlo, "show", "raw.t", "--reason", "is_integer")
    expect(found, source_position=2, run_id="run one", partition_date="2024-01-15")
    assert [row["run_id"] for row in listed(phlo, "show", "t", "--run", "run two")] == ["run two"]
    assert len(listed(phlo, "show", "t", "--limit", "2")) == 2
    assert listed(phlo, "show", "t", "--date", "2023-01-01") == []
    assert listed(phlo, "show", "t", "--id", found["quarantine_id"]) == [found]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--date", "zz", "'zz' is not a date: write it as YYYY-MM-DD"),
        ("--limit", "-1", "'-1' is not a whole number above 0"),
        ("--limit", "0", "'0' is not a whole number above 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(phlo: Any, option: str, value: str, message: str) -> None:
    code, out, err = phlo("show", "t", option, value)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("command", ["list", "show", "replay"])
def test_a_table_without_quarantine_is_refused(phlo: Any, command: str) -> None:
    code, out, err = phlo(command, "other")
    assert (code, out) == (2, "")
    assert "raw.other has no quarantine" in err


def test_a_replay_before_airflow_has_been_set_up(phlo: Any) -> None:
    code, out, err = phlo("replay", "t")
    assert (code, out) == (2, "")
    assert "has not been set up: start the services (phlo services start)" in err
    assert "sqlite" not in err.lower()
