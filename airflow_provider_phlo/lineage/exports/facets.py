"""Facets that say what is known of a dataset's columns, for exports and for the events of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.lineage.datasets import DatasetName
from airflow_provider_phlo.lineage.sql.relations import Effect, How, Origin

if TYPE_CHECKING:
    from openlineage.client.facet_v2 import column_lineage_dataset

PRODUCER = "urn:airflow-provider-phlo"
_DIRECT = {How.COPIED: "IDENTITY", How.COMPUTED: "TRANSFORMATION", How.AGGREGATED: "AGGREGATION"}
_INDIRECT = {
    Effect.FILTERED: "FILTER",
    Effect.JOINED: "JOIN",
    Effect.GROUPED: "GROUP_BY",
    Effect.DEDUPLICATED: "GROUP_BY",
    Effect.SORTED: "SORT",
}


def column_lineage(
    columns: Mapping[str, Mapping[Origin, How]],
    effects: Mapping[Origin, Effect],
    dataset: Callable[[str], DatasetName],
) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
    """
    Return where the columns of a dataset come from; None if nothing is known of that.

    :param columns: the origins of each column.
    :param effects: the columns that decide which rows there are.
    :param dataset: return the name of the dataset that an origin's table is.
    """
    from openlineage.client.facet_v2 import column_lineage_dataset

    def inputs(origins: Mapping[Origin, Any], kind: str, subtypes: Mapping[Any, str]) -> list[Any]:
        return [
            column_lineage_dataset.InputField(
                *dataset(table), column, [column_lineage_dataset.Transformation(kind, subtypes[how])]
            )
            for (table, column), how in origins.items()
        ]

    fields = {
        name: column_lineage_dataset.Fields(inputs(origins, "DIRECT", _DIRECT))
        for name, origins in columns.items()
        if origins
    }
    rows = inputs(effects, "INDIRECT", _INDIRECT)
    if not fields and not rows:
        return None
    return column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields, dataset=rows, producer=PRODUCER)
