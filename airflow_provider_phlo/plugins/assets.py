"""
Keep what the producer of a table says of its asset.

Airflow writes an asset's group and extra anew for every DAG file that refers to it, with the defaults where the file
says nothing: a DAG that is scheduled on a table would take its group and description away. Airflow has no reference to
an asset that both hands events on to the run and leaves the asset alone, so the defaults are kept out where Airflow
writes them: in the process that has its database.
"""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl

_SCHEME = "iceberg://"
# what Airflow has for an asset that a DAG file says nothing about
_DEFAULTS: dict[str, Any] = {"group": "asset", "extra": {}}


@hookimpl
def on_starting(component: Any) -> None:
    """Look after assets in the process that writes what DAG files say of them."""
    if type(component).__name__ == "Job":
        keep_descriptions()


def keep_descriptions() -> None:
    """Let a default replace neither the group nor the extra that an Iceberg asset has; harmless when repeated."""
    from airflow.models.asset import AssetModel
    from sqlalchemy import event

    for name, keep in _KEEPERS.items():
        attribute = getattr(AssetModel, name)
        if not event.contains(attribute, "set", keep):
            event.listen(attribute, "set", keep, retval=True)


def _keep_group(asset: Any, value: Any, known: Any, _initiator: Any) -> Any:
    return _kept("group", asset, value, known)


def _keep_extra(asset: Any, value: Any, known: Any, _initiator: Any) -> Any:
    return _kept("extra", asset, value, known)


def _kept(name: str, asset: Any, value: Any, known: Any) -> Any:
    """Return what the attribute is to be: ``known`` is a symbol of SQLAlchemy where there was nothing before."""
    says_nothing = value == _DEFAULTS[name] and isinstance(known, type(_DEFAULTS[name])) and known
    return known if says_nothing and asset.uri.startswith(_SCHEME) else value


_KEEPERS = {"group": _keep_group, "extra": _keep_extra}
