"""Where the columns of what a task has written come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.catalogs.openlineage.tables import Column, TableDescription
from airflow_provider_phlo.catalogs.openlineage.work import Copied, Model, Written
from airflow_provider_phlo.lineage.datasets import DatasetName
from airflow_provider_phlo.lineage.exports.facets import column_lineage
from airflow_provider_phlo.lineage.sql.relations import How, Origin, Relation, table_relation, unknown_relation
from airflow_provider_phlo.terms import METADATA_COLUMNS

if TYPE_CHECKING:
    from openlineage.client.facet_v2 import column_lineage_dataset

_METADATA = frozenset(map(str, METADATA_COLUMNS))


def lineage_of(
    written: Written,
    columns: Sequence[Column],
    look_up: Callable[[str], TableDescription | None],
    dataset: Callable[[str], DatasetName],
) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
    """
    Return the column lineage of a dataset; None if nothing is certain.

    :param columns: of the dataset.
    :param look_up: return what the catalog says of a table.
    :param dataset: return the name of the dataset that ``namespace.table`` is.
    """
    made_of = written.made_of
    if isinstance(made_of, Copied):
        return _copied(made_of, columns, look_up)
    if isinstance(made_of, Model):
        return _computed(made_of, written.table, look_up, dataset)
    return None


def _copied(
    made_of: Copied, columns: Sequence[Column], look_up: Callable[[str], TableDescription | None]
) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
    """Return that each column is that of the other dataset; those that this package adds come from nowhere."""
    other = look_up(made_of.table) if made_of.table else None
    names = [column.name for column in (other.columns if other else columns)]
    how = How.COMPUTED if made_of.changed else How.COPIED
    origins: dict[str, Mapping[Origin, How]] = {
        name: {("", f"{made_of.fields}{name}"): how} for name in names if made_of.table or name not in _METADATA
    }
    return column_lineage(origins, {}, lambda _: made_of.dataset)


def _computed(
    model: Model,
    table: str,
    look_up: Callable[[str], TableDescription | None],
    dataset: Callable[[str], DatasetName],
) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
    """Return what the SQL says; what an incremental model reads of itself is left out."""
    from airflow_provider_phlo.lineage.sql.analysis import analyse_sql

    def relation(parts: Sequence[str]) -> Relation:
        written = tuple(part.lower() for part in parts[-2:])
        name = model.tables.get(written) or ".".join(written)
        found = look_up(name)
        if found is None:
            return unknown_relation(f"nothing is known of {name}")
        return table_relation(name, [column.name for column in found.columns], complete=True)

    made = analyse_sql(model.sql, model.dialect, relation)
    origins = {
        column.name: {origin: how for origin, how in column.value.origins.items() if origin[0] != table}
        for column in made.columns
        if column.name is not None
    }
    effects = {origin: effect for origin, effect in made.effects.items() if origin[0] != table}
    return column_lineage(origins, effects, dataset)
