from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from airflow_provider_phlo.sources.github_pulls.staging import stage_readings
from airflow_provider_phlo.sources.github_pulls.tables import PULL_REQUEST_TABLES
from airflow_provider_phlo.warehouse.stage import Stage
from tests.unit.sources.github_pulls.readings import as_arrow, readings

RUN: dict[str, Any] = {"date": "2026-03-01", "token": "t1"}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def some(seed: int, organization: str = "octo-org", count: int = 20) -> list[dict[str, Any]]:
    return [{**each, "organization": organization} for each in readings(Random(seed), count)]


def read(stage: Stage, name: str, entity: str) -> list[dict[str, Any]]:
    return [row for table in stage.read(stage.load(name), entity) for row in table.to_pylist()]


def test_each_organization_has_a_batch_with_its_rows_only(stage: Stage) -> None:
    rows = [*some(1), *some(2, "Other Org")]
    chunks = [as_arrow(rows[:30]), as_arrow(rows[30:])]

    staged = stage_readings(stage, chunks, ["octo-org", "Other Org"], **RUN)

    assert len(staged.batches) == 2
    found = Counter(row["organization"] for name in staged.batches for row in read(stage, name, "pull_requests"))
    assert found == {"octo-org": 20, "Other Org": 20}
    expected = {"reviews": sum(len(row["reviews"]) for row in rows), "files": sum(len(row["files"]) for row in rows)}
    assert staged.rows == {"pull_requests": 40, **expected}


def test_every_table_that_is_loaded_is_staged_with_the_columns_of_its_model(stage: Stage) -> None:
    staged = stage_readings(stage, [as_arrow(some(3))], ["octo-org"], **RUN)

    for table in PULL_REQUEST_TABLES:
        rows = read(stage, staged.batches[0], table.entity)
        assert rows
        assert set(rows[0]) == {column.name for column in table.declared().columns}


def test_a_retry_reads_nothing_again(stage: Stage) -> None:
    def once() -> Any:
        yield as_arrow(some(4))

    def never() -> Any:
        pytest.fail("read again")
        yield

    first = stage_readings(stage, once(), ["octo-org"], **RUN)

    assert stage_readings(stage, never(), ["octo-org"], **RUN) == first


def test_readings_that_fail_leave_no_batch(stage: Stage) -> None:
    def broken() -> Any:
        yield as_arrow(some(5))
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        stage_readings(stage, broken(), ["octo-org"], **RUN)

    assert stage.batches() == []


def test_an_organization_of_nothing_has_a_batch_of_nothing(stage: Stage) -> None:
    staged = stage_readings(stage, iter(()), ["octo-org"], **RUN)

    assert (len(staged.batches), staged.rows) == (1, {"pull_requests": 0, "reviews": 0, "files": 0})


def test_nothing_gives_no_batch(stage: Stage) -> None:
    assert stage_readings(stage, iter(()), [], **RUN).batches == []
