"""Datasets with their facets, of what a task has read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_phlo.catalogs.openlineage.columns import lineage_of
from airflow_provider_phlo.catalogs.openlineage.tables import Column, TableDescription
from airflow_provider_phlo.catalogs.openlineage.work import Assertion, Read, Work, Written
from airflow_provider_phlo.lineage.datasets import DatasetName, dataset_of
from airflow_provider_phlo.lineage.exports.facets import PRODUCER

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet, OutputDatasetFacet, RunFacet

#: Returns what the catalog says of ``namespace.table``; None if there is no such table.
Lookup = Callable[[str], TableDescription | None]
# who sets the tag, as other integrations name themselves
_SOURCE = "PHLO"


@dataclass(frozen=True)
class Facets:
    """What OpenLineage learns of a task."""

    inputs: list[InputDataset]
    outputs: list[OutputDataset]
    run: dict[str, RunFacet]


def facets_of(
    work: Work,
    look_up: Lookup,
    dataset: Callable[[str], DatasetName],
    *,
    day: str | None = None,
    zone: str = "UTC",
    is_done: bool = True,
) -> Facets:
    """
    Return the datasets and facets of what a task has done.

    :param look_up: return what the catalog says of a table; each table is asked for once.
    :param dataset: return the name of the dataset that ``namespace.table`` is.
    :param day: the partition date that the task worked on, ``YYYY-MM-DD``.
    :param zone: the zone whose days the partition dates are.
    :param is_done: False for a task that has only begun, or failed: what is written is not described.
    """
    known: Lookup = cache(look_up)
    return Facets(
        [_input(read, known) for read in work.read],
        [_output(written, known, dataset) if is_done else _named(written) for written in work.written],
        _run(day, zone),
    )


def _run(day: str | None, zone: str) -> dict[str, RunFacet]:
    """Return the run's day as a tag, and as its nominal time: the provider puts a scheduled run's interval there."""
    from openlineage.client.facet_v2 import nominal_time_run, tags_run

    if day is None:
        return {}
    midnight = datetime.combine(date.fromisoformat(day), time(), ZoneInfo(zone))
    return {
        "nominalTime": nominal_time_run.NominalTimeRunFacet(
            midnight.isoformat(), (midnight + timedelta(days=1)).isoformat(), producer=PRODUCER
        ),
        "tags": tags_run.TagsRunFacet([tags_run.TagsRunFacetFields("partition_date", day, _SOURCE)], producer=PRODUCER),
    }


def _input(read: Read, look_up: Lookup) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset

    checked: dict[str, InputDatasetFacet] = {}
    if read.assertions:
        checked["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            [_assertion(each) for each in read.assertions], producer=PRODUCER
        )
    found = look_up(read.table) if read.table else None
    return InputDataset(*read.dataset, facets=_of_table(found), inputFacets=checked)


def _assertion(assertion: Assertion) -> Any:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset

    return data_quality_assertions_dataset.Assertion(
        assertion=assertion.kind,
        success=assertion.passed,
        column=assertion.column,
        severity=assertion.severity,
        name=assertion.name,
        params=dict(assertion.counts),
    )


def _named(written: Written) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset

    return OutputDataset(*written.dataset)


def _output(written: Written, look_up: Lookup, dataset: Callable[[str], DatasetName]) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    found = look_up(written.table) if written.table else None
    declared = tuple(Column(name, kind) for name, kind in written.columns.items())
    columns = found.columns if found else declared
    facets = _of_table(found) or _schema(columns)
    if written.snapshot_id is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            str(written.snapshot_id), producer=PRODUCER
        )
    lineage = lineage_of(written, columns, look_up, dataset)
    if lineage is not None:
        facets["columnLineage"] = lineage
    if not columns and lineage is not None:
        facets |= _schema(Column(name, "") for name in lineage.fields)
    counts: dict[str, OutputDatasetFacet] = {}
    if written.counts.rows is not None:
        counts["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=written.counts.rows, size=written.counts.bytes, producer=PRODUCER
        )
    return OutputDataset(*written.dataset, facets=facets, outputFacets=counts)


def _of_table(found: TableDescription | None) -> dict[str, DatasetFacet]:
    """Return the columns of a table, and its place: the name that those know it by who do not ask a catalog."""
    from openlineage.client.facet_v2 import storage_dataset, symlinks_dataset

    if found is None:
        return {}
    facets: dict[str, DatasetFacet] = {
        **_schema(found.columns),
        "storage": storage_dataset.StorageDatasetFacet("iceberg", "parquet", producer=PRODUCER),
    }
    if found.location:
        place = symlinks_dataset.Identifier(*dataset_of(found.location), "LOCATION")
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet([place], producer=PRODUCER)
    return facets


def _schema(columns: Iterable[Column]) -> dict[str, DatasetFacet]:
    from openlineage.client.facet_v2 import schema_dataset

    fields = [_field(column) for column in columns]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER)} if fields else {}


def _field(column: Column) -> Any:
    from openlineage.client.facet_v2 import schema_dataset

    return schema_dataset.SchemaDatasetFacetFields(
        column.name, column.type or None, column.doc or None, fields=[_field(each) for each in column.fields]
    )
