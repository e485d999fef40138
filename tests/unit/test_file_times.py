"""When a file was written last, as each file system says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.io.stat import stat_result

from airflow_provider_phlo.file_times import modified_at

MOMENT = datetime(2026, 11, 28, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        MOMENT.timestamp(),
        MOMENT,
        MOMENT.replace(tzinfo=None),
        MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        "2026-11-28T10:30:00.000Z",
    ],
    ids=["of a disk", "of PyArrow", "without a zone", "of another zone", "of Google"],
)
def test_each_way_to_say_a_time_is_understood(said: Any) -> None:
    assert modified_at(SimpleNamespace(st_mtime=said)) == MOMENT
    assert modified_at(stat_result({"mtime": said})) == MOMENT


@pytest.mark.parametrize("status", [stat_result({}), stat_result({"mtime": None}), SimpleNamespace(st_mtime=0)])
def test_where_it_is_not_known(status: Any) -> None:
    assert modified_at(status) is None
