"""The source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def plugin_name(partition_date: str = "2024-01-15") -> Iterator[dict[str, Any]]:
    """
    Yield records; a dlt source or resource, Arrow tables and data frames would do, too.

    :param partition_date: the day of the run, which fills this parameter by its name.
    """
    # what takes time to import is imported in here: DAG files import this module
    for hour in range(24):
        yield {"id": f"{partition_date}-{hour}", "at": f"{partition_date}T{hour:02}:00:00Z", "value": 20 + hour}
