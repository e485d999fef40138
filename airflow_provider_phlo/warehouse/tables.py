"""What is loaded into which table, and what a warehouse of any kind does: plain values, light enough for DAG files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.terms import SnapshotId, Token

if TYPE_CHECKING:
    from airflow_provider_phlo.schemas.columns import ModelColumns
    from airflow_provider_phlo.warehouse.stage import Stage
    from airflow_provider_phlo.warehouse.stage_batches import StageBatch


@dataclass(frozen=True)
class StageTable:
    """
    Where the rows of an entity go.

    ::

        StageTable("reviews", "raw.pull_request_reviews", ("row_key",), "schemas.reviews:Review", order_by="updated_at")

    :param entity: the folder in the stage.
    :param target: ``namespace.table``; in an SQL warehouse, the schema and its table.
    :param key: its key columns: the table has one row per key.
    :param model: a Pandera model, or ``"package.module:Class"``: the table's columns.
    :param order_by: the column that says which version of a row is newer; a row with a smaller value never replaces
        one with a greater. None means the order of writing.
    """

    entity: str
    target: str
    key: tuple[str, ...]
    model: Any
    order_by: str | None = None

    def declared(self) -> ModelColumns:
        """
        Return the columns that the model declares.

        :raises SchemaError: the model cannot be used.
        :raises ConfigurationError: key or order are not among them.
        """
        from airflow_provider_phlo.schemas.columns import load_model, model_columns, require_key

        declared = model_columns(load_model(self.model))
        require_key(declared, self.key)
        names = {column.name for column in declared.columns}
        missing = [name for name in (*self.key, *filter(None, [self.order_by])) if name not in names]
        if missing or not self.key:
            raise ConfigurationError(
                f"{self.target}: {', '.join(missing) or 'a key'} is not among the columns of its model "
                f"({', '.join(sorted(names))}): key and order_by name some of them."
            )
        return declared


@dataclass(frozen=True)
class TableLoad:
    """
    What a load did to a table: ``rows == inserted + updated + unchanged + duplicates + quarantined``.

    :param rows: rows in the files.
    :param unchanged: rows that changed nothing: the table has the same content, or a newer version.
    :param duplicates: rows left out for a newer one of the same key in the same load.
    :param quarantined: rows that broke a rule and are set aside.
    :param snapshot_id: Iceberg's, after the load.
    """

    table: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    quarantined: int = 0
    snapshot_id: SnapshotId | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TableLoad:
        """Return the result that :meth:`to_json` wrote."""
        return cls(**{item.name: content[item.name] for item in fields(cls) if item.name in content})


class Warehouse(Protocol):
    """Where the rows of a stage are loaded."""

    @property
    def name(self) -> str:
        """Return what ``[phlo] warehouse`` calls it."""

    def load(
        self,
        stage: Stage,
        tables: Sequence[StageTable],
        batches: Sequence[StageBatch],
        token: Token,
        *,
        run_id: str,
        partition_date: str,
    ) -> list[TableLoad]:
        """
        Load batches into tables: once per token, however often it is called with it.

        :param tables: each is created where it is not there yet.
        :param batches: in the order of writing.
        :param token: the run's token.
        :param run_id: Airflow's id of the run.
        :param partition_date: the day of the run, ``YYYY-MM-DD``.
        :returns: a result for each table; of the first time, if the token was loaded before.
        """

    def count_rows(self, table: str, *, by: str, where: Mapping[str, Any]) -> dict[Any, int]:
        """
        Return how many rows there are for each value of a column, of those with the given values in more columns.

        :param by: the column whose values the rows are counted for.
        :returns: nothing where there are no such rows, or no such table.
        """

    def rows(self, table: str, columns: Sequence[str], *, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Return the rows that have the given values in some columns: of tables that are known to be small.

        :returns: nothing where there are no such rows, or no such table.
        """


def require_distinct(tables: Iterable[StageTable]) -> None:
    """
    Check that no table is filled from two entities in one load.

    :raises ConfigurationError: one is, or there are no tables.
    """
    targets = [table.target for table in tables]
    if not targets or len({target.lower() for target in targets}) < len(targets):
        raise ConfigurationError(f"A load fills each table from one entity, and at least one table: {targets}.")
