from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.sources.github_pulls.record import repository_rows, without_left_out
from airflow_provider_phlo.sources.github_pulls.tables import REPOSITORIES_TABLE
from airflow_provider_phlo.sources.github_pulls.transform import row_key
from tests.expect import expect

READ_AT = datetime(2026, 3, 1, tzinfo=UTC)


def repository(repository_id: int, rows_before: tuple[int, int, int] = (0, 0, 0), **more: Any) -> dict[str, Any]:
    names = {"organization": "octo-org", "repository": f"r{repository_id}", "repository_id": repository_id}
    known = {"complete_until": READ_AT, "left_out": None, "read_at": READ_AT, "rows_before": list(rows_before)}
    updates = {"last_update": READ_AT, "updated_last": '{"7": "x", "8": "y"}'}
    return {**names, **known, **updates, **more}


def test_a_row_says_how_many_rows_there_are() -> None:
    rows = {("octo-org", 1): (5, 6, 7), ("octo-org", 3): (1, 1, 1), ("former", 1): (9, 9, 9)}
    made = repository_rows([repository(1, (2, 2, 2)), repository(2)], [], rows, [3, 4, 5])

    assert set(made.schema.names) == {column.name for column in REPOSITORIES_TABLE.declared().columns}
    first, second = made.to_pylist()
    expect(first, row_key=row_key("repository", 1), pull_requests=5, reviews=6, files=7)
    expect(second, pull_requests=0, complete_until=READ_AT)
    assert made.schema.field("complete_until").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("rows", "inserted", "complete"),
    [
        ((4, 4, 4), [0, 0, 0], True),
        ((9, 4, 5), [5, 0, 1], True),
        ((12, 9, 9), [5, 0, 1], True),  # another run has loaded, too
        ((4, 4, 4), [1, 0, 0], False),  # one was lost, one came
        ((4, 3, 4), [0, 0, 0], False),
        ((9, 9, 4), [5, 5, 1], False),
    ],
)
def test_nothing_is_certain_if_rows_were_lost_since_the_plan(
    rows: tuple[int, int, int], inserted: list[int], complete: bool
) -> None:
    planned = [repository(1, (3, 3, 3)), repository(2, (1, 1, 1))]
    made = repository_rows(planned, [], {("octo-org", 1): rows}, inserted)
    assert made["complete_until"].to_pylist() == ([READ_AT] * 2 if complete else [None] * 2)


def test_a_pull_request_that_was_left_out_makes_its_repository_complete_until_then() -> None:
    known = [repository(1), repository(2), repository(3, left_out="blocked", complete_until=None)]
    missed = [
        {"repository_id": 2, "number": 7, "updated_at": "2026-02-03T00:00:00Z", "left_out": "answered 404"},
        {"repository_id": 2, "number": 9, "updated_at": "2026-02-02T00:00:00Z", "left_out": "answered 451"},
    ]

    one, two, three = without_left_out(known, missed)

    assert (one, three) == (known[0], known[2])
    first = datetime(2026, 2, 2, tzinfo=UTC)
    left = {
        "left_out": "2 pull requests: answered 404",
        "left_out_pull_requests": 2,
        "updated_last": '{"8": "y"}',
    }
    assert two == {**known[1], "complete_until": first, **left}


@pytest.mark.parametrize("update", [None, 5, "yesterday"])
def test_a_pull_request_without_a_time_makes_it_incomplete_from_the_beginning(update: Any) -> None:
    missed = {"repository_id": 2, "number": 7, "updated_at": update, "left_out": "404"}
    (known,) = without_left_out([repository(2)], [missed])
    assert known["complete_until"] == datetime(1970, 1, 1, tzinfo=UTC)
