"""Runs of one table whose source has a cursor: no row is lost or doubled, whichever reads or publishes first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dlt
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.run_branches import STATE_PROPERTY
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.source_state import advanced_by_both, merged, reads_on
from tests.unit.ingestion.test_rollback import TABLE, Pipeline

HASH = MergePlan("append", deduplication=True, method="hash")


def pipeline(home: Path, plan: MergePlan) -> Pipeline:
    return Pipeline(home, TableDefinition(TABLE, plan))


def numbered(name: str = "counter", **window: Any) -> Any:
    """Return a resource of two rows after its cursor; ``window`` is dlt's."""
    return dlt.resource(
        [{"n": 1}, {"n": 2}, {"n": 3}], name=name, incremental=dlt.sources.incremental("n", initial_value=0, **window)
    )


def batch_of(runs: Pipeline, landed: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((runs.root / landed["folder"] / "manifest.json").read_text())
    return content


def test_a_day_that_is_replaced_again_keeps_the_rows_before_the_cursor(tmp_path: Path) -> None:
    runs = pipeline(tmp_path, MergePlan("replace"))
    runs.publish(runs.land("the day before", day="2024-01-14"))
    head = branch_head(runs.catalog.load_table(TABLE))
    assert head is not None
    runs.run("one")
    with pytest.raises(ConfigurationError, match=r"2 row\(s\) of an earlier run.*end_value"):
        runs.land("two")  # another run of the day, or the same one cleared: 5 and 6
    assert runs.numbers() == [1, 2, 3, 4]
    runs.back(head)
    runs.run("two after all")
    runs.publish(runs.land("the next day", day="2024-01-16"))
    assert runs.numbers() == [1, 2, 3, 4, 5, 6]


def test_a_window_replaces_the_whole_day(tmp_path: Path) -> None:
    runs = pipeline(tmp_path, MergePlan("replace"))
    for token in ("one", "two"):
        runs.publish(runs.land(token, source=lambda: numbered(end_value=9)))
    assert runs.numbers() == [1, 2, 3]
    runs.publish(runs.land("a cursor", day="2024-01-16", source=numbered))
    runs.publish(runs.land("three", source=lambda: numbered(end_value=3)))
    assert runs.numbers() == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("plan", [MergePlan("append", deduplication=False), MergePlan("replace")], ids=str)
def test_rows_that_two_runs_have_read_are_there_once(tmp_path: Path, plan: MergePlan) -> None:
    runs = pipeline(tmp_path, plan)
    first, second = runs.land("first"), runs.land("second", day="2024-01-16")
    runs.publish(second)
    with pytest.raises(ConfigurationError, match=r"place of counter\.n.*clear the run"):
        runs.publish(first)
    assert runs.numbers() == [1, 2]
    runs.publish(runs.land("cleared"))
    assert runs.numbers() == [1, 2, 3, 4]


@pytest.mark.parametrize("plan", [MergePlan(key=("n",)), HASH], ids=str)
def test_what_two_runs_have_read_is_merged(tmp_path: Path, plan: MergePlan) -> None:
    runs = pipeline(tmp_path, plan)
    first, second = runs.land("first"), runs.land("second", day="2024-01-16")
    runs.publish(second)
    assert runs.publish(first)["inserted"] == 0
    assert runs.numbers() == [1, 2]


def test_cursors_of_several_resources_of_a_table_stay(tmp_path: Path) -> None:
    runs = pipeline(tmp_path, MergePlan("append", deduplication=False))
    one, other = runs.land("one"), runs.land("other", source=lambda: numbered("another"))
    runs.publish(one)
    runs.publish(other)
    assert runs.numbers() == [1, 1, 2, 2, 3]
    state = runs.catalog.load_table(TABLE).properties[STATE_PROPERTY]
    assert state.count('"last_value"') == 2
    assert reads_on(state, [("counter", "n")])
    assert reads_on(state, [("another", "n")])
    runs.run("again")
    assert runs.numbers() == [1, 1, 2, 2, 3, 3, 4]


def test_a_batch_says_whether_its_source_reads_on(tmp_path: Path) -> None:
    runs = pipeline(tmp_path, MergePlan(key=("n",)))

    @dlt.transformer
    def same(rows: Any) -> Any:
        yield rows

    sources = {
        "first": (numbered, False),
        "second": (numbered, True),
        "transformed": (lambda: numbered() | same, True),
        "a window": (lambda: numbered(end_value=9), False),
        "another": (lambda: numbered("another"), False),
        "records": (lambda: [{"n": 9}], False),
    }
    for token, (source, expected) in sources.items():
        landed = runs.land(token, source=source)
        assert batch_of(runs, landed)["reads_on"] is expected, token
        runs.publish(landed)


def state(**resources: Any) -> str:
    return json.dumps({"source": {"resources": resources, "key": resources.get("of_source", 0)}})


def at(value: int, **other: Any) -> dict[str, Any]:
    return {"incremental": {"n": {"last_value": value}}, **other}


@pytest.mark.parametrize(
    ("before", "after", "present", "expected"),
    [
        ("", state(a=at(1)), "", state(a=at(1))),
        ("", state(a=at(1)), state(b=at(2)), state(b=at(2), a=at(1))),
        (state(a=at(1)), state(a=at(2)), state(a=at(1), b=at(2)), state(a=at(2), b=at(2))),
        (state(a=at(1), b=at(1)), state(b=at(1)), state(a=at(1), b=at(2)), state(b=at(2))),
        (state(a=at(1), b=at(1)), state(b=at(1)), state(a=at(2), b=at(1)), state(a=at(2), b=at(1))),
        (state(a=at(1)), "", state(a=at(1)), ""),
    ],
)
def test_what_a_run_has_changed_stands_beside_what_others_have(
    before: str, after: str, present: str, expected: str
) -> None:
    found = merged(before, after, present)
    assert (json.loads(found) if found else "") == (json.loads(expected) if expected else "")


def test_cursors_that_both_have_moved() -> None:
    assert advanced_by_both("", state(a=at(1), b=at(1)), state(a=at(2))) == ["a.n"]
    assert advanced_by_both("", state(a=at(1)), state(a=at(1))) == ["a.n"]  # the same rows
    assert advanced_by_both(state(a=at(1)), state(a=at(1)), state(a=at(2))) == []
    assert advanced_by_both(state(a=at(1)), state(a=at(2)), state(a=at(1), b=at(3))) == []
    assert reads_on(state(a={"pages": 1}), [("a", None)])
    assert not reads_on(state(a=at(1)), [("a", None)])
