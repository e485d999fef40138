"""What dbt is building, as far as the catalog is concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.tables.layout import TableLayout
from airflow_provider_phlo.terms import names_of

VOLATILE_COLUMNS = ("_transformed_at",)


@dataclass(frozen=True)
class Node:
    """
    What is being built.

    :param identifier: its ``namespace.table``.
    :param kind: dbt's resource type: ``model``, ``seed``, ``snapshot``, ``test``, …
    :param materialized: its materialization.
    :param config: its configuration.
    """

    identifier: str
    kind: str
    materialized: str
    config: Mapping[str, Any]

    @property
    def layout(self) -> TableLayout:
        """
        Return how its table is to be partitioned, sorted and kept.

        :raises ConfigurationError: it is not said in names or transforms of columns.
        """
        given = {name: self.config.get(name) for name in ("partition_by", "sort_by", "table_properties")}
        for name in ("partition_by", "sort_by"):
            value = given[name]
            if value is not None and not (isinstance(value, str) or all(isinstance(each, str) for each in value)):
                raise ConfigurationError(
                    f"{self.identifier}: {name}={value!r} is not understood: write columns or transforms of them, such "
                    "as 'day(created_at)'."
                )
        return TableLayout(
            None if given["partition_by"] is None else tuple(names_of(given["partition_by"])),
            None if given["sort_by"] is None else tuple(names_of(given["sort_by"])),
            {name: str(value) for name, value in (given["table_properties"] or {}).items()},
        )

    @property
    def volatile_columns(self) -> tuple[str, ...]:
        """Return the columns that do not count when contents are compared."""
        return tuple((self.config.get("meta") or {}).get("volatile_columns", VOLATILE_COLUMNS))
