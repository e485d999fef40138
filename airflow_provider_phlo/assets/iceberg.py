"""The Airflow asset of an Iceberg table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.naming import asset_uri, qualified_table

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context
    from airflow.sdk.definitions.asset import AssetUriRef


def iceberg_asset(table: str, *, group: str = "asset") -> Asset:
    """
    Return the asset ``iceberg://<catalog>/<namespace>/<table>``, named ``namespace.table``.

    Airflow takes an asset's group from the DAG file with it that was parsed last: who schedules a DAG on another's
    table names the producer's group, or uses :func:`iceberg_asset_ref`.

    :param table: ``table`` or ``namespace.table``.
    :param group: Airflow's asset group.
    """
    from airflow.sdk import Asset

    return Asset(name=qualified_table(table), uri=asset_uri(table), group=group)


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


def outlets_of(*tables: Any) -> list[Asset]:
    """Return the outlets of a task that writes ``tables``: none for one whose name is not known yet."""
    known: Iterable[str] = (table for table in tables if isinstance(table, str) and "{{" not in table)
    return [iceberg_asset(table) for table in known]


def set_event(context: Context, table: str, extra: Mapping[str, Any]) -> None:
    """
    Attach ``extra`` (snapshot id, counts, partition date) to the event of ``table``, if the task has that outlet.

    The partition date is the event's partition key, too. Airflow lets an event with a key trigger only DAGs that are
    scheduled by partitions, so there is a second event without one, for all others. The events of a run that has a key
    itself carry that one.
    """
    wanted = asset_uri(table)
    for outlet in context["task"].outlets:
        if getattr(outlet, "uri", None) == wanted:
            event = context["outlet_events"][outlet]
            event.extra.update(extra)
            day = extra.get("partition_date")
            # Airflow 3.2 has no keys per event
            if day and not context["dag_run"].partition_key and hasattr(event, "partition_keys"):
                event.partition_keys.update({day, None})  # type: ignore[arg-type]
