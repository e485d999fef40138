"""The Airflow asset of an Iceberg table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.naming import asset_uri, qualified_table

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


def iceberg_asset(table: str, *, group: str = "asset") -> Asset:
    """
    Return the asset ``iceberg://<catalog>/<namespace>/<table>``, named ``namespace.table``.

    :param table: ``table`` or ``namespace.table``.
    :param group: Airflow's asset group.
    """
    from airflow.sdk import Asset

    return Asset(name=qualified_table(table), uri=asset_uri(table), group=group)


def outlets_of(table: str) -> list[Asset]:
    """Return the outlets of a task that writes ``table``: none while its name is a template."""
    return [] if "{{" in table else [iceberg_asset(table)]


def set_event(context: Context, table: str, extra: Mapping[str, Any]) -> None:
    """Attach ``extra`` (snapshot id, counts, partition date) to the event of ``table``, if the task has that outlet."""
    wanted = asset_uri(table)
    for outlet in context["task"].outlets:
        if getattr(outlet, "uri", None) == wanted:
            context["outlet_events"][outlet].extra.update(extra)
