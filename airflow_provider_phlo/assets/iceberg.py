"""The Airflow asset of an Iceberg table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.naming import asset_uri, qualified_table

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context
    from airflow.sdk.definitions.asset import AssetUriRef
    from openlineage.client.event_v2 import Dataset as OpenLineageDataset


# one per table and process: what one place of a DAG file says of an asset, all its references in that file say
_ASSETS: dict[str, Asset] = {}


def iceberg_asset(table: str, *, group: str | None = None, extra: Mapping[str, Any] | None = None) -> Asset:
    """
    Return the asset ``iceberg://<catalog>/<namespace>/<table>``, named ``namespace.table``.

    Whoever produces the table says its group; everybody else leaves it out, and Airflow keeps what the producer said:
    see :mod:`airflow_provider_phlo.plugins.assets`.

    ::

        schedule=[iceberg_asset("raw.readings") & iceberg_asset("raw.sites")]

    :param table: ``table`` or ``namespace.table``.
    :param group: Airflow's asset group; None leaves it as it is.
    :param extra: what Airflow's page of the asset shows, as JSON; None leaves it as it is.
    """
    from airflow.sdk import Asset

    uri = asset_uri(table)
    asset = _ASSETS.setdefault(uri, Asset(name=qualified_table(table), uri=uri))
    if group is not None:
        asset.group = group
    if extra is not None:
        asset.extra = dict(extra)
    return asset


def iceberg_asset_ref(table: str) -> AssetUriRef:
    """
    Return a reference to a table's asset, for ``PartitionedAssetTimetable(assets=…)``: it changes nothing of what its
    producer says about the asset.

    It is not for ``schedule=[…]``: Airflow does not hand the events on to a run that a reference triggered, so the run
    could not know its day. Nor for inlets: a task with a reference to an asset that no DAG writes fails.

    :param table: ``table`` or ``namespace.table``.
    """
    from airflow.sdk import Asset

    qualified_table(table)  # refuses what is not a table
    return Asset.ref(uri=asset_uri(table))


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> OpenLineageDataset:
    """Return the dataset that an asset among the inlets and outlets of any task is; Airflow calls it."""
    from openlineage.client.event_v2 import Dataset

    from airflow_provider_phlo.lineage.datasets import dataset_of

    return Dataset(*dataset_of(asset.uri))


def outlets_of(*tables: Any) -> list[Asset]:
    """Return the outlets of a task that writes ``tables``: none for one whose name is not known yet."""
    known: Iterable[str] = (table for table in tables if isinstance(table, str) and "{{" not in table)
    return [iceberg_asset(table) for table in known]


def set_event(context: Context, table: str, extra: Mapping[str, Any]) -> None:
    """Attach ``extra`` to the event of ``table``, as :func:`set_event_of` does."""
    set_event_of(context, asset_uri(table), extra)


def set_event_of(context: Context, uri: str, extra: Mapping[str, Any]) -> None:
    """
    Attach ``extra`` (snapshot id, counts, partition date) to the event of an asset, if the task has that outlet.

    The partition date is the event's partition key, too. Airflow lets an event with a key trigger only DAGs that are
    scheduled by partitions, so there is a second event without one, for all others. The events of a run that has a key
    itself carry that one.
    """
    for outlet in context["task"].outlets:
        if getattr(outlet, "uri", None) == uri:
            event = context["outlet_events"][outlet]
            event.extra.update(extra)
            day = extra.get("partition_date")
            # Airflow 3.2 has no keys per event
            if day and not context["dag_run"].partition_key and hasattr(event, "partition_keys"):
                event.partition_keys.update({day, None})  # type: ignore[arg-type]
