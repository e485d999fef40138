"""Elements of service levels: the columns that they are about, and the oldest and newest times in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_phlo.contracts.model.contract import Contract, Promise
from airflow_provider_phlo.suggestions import did_you_mean

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog


@dataclass(frozen=True)
class Element:
    """
    A column that a service level is about.

    :param problem: why it is not one of the contract's; empty if it is.
    """

    column: str
    problem: str = ""


@dataclass(frozen=True)
class Extremes:
    """The oldest and the newest time in a column; None where there is not any."""

    oldest: datetime | None
    newest: datetime | None


def elements_of(text: str, contract: Contract, promise: Promise) -> Iterator[Element]:
    """
    Yield the elements of a service level that are about one table: ``orders.day``, ``day``, several with commas.

    :param promise: about that table; one of several of the contract takes only what names it or is its column.
    """
    known = [column.name for column in promise.columns]
    alone = len(contract.promises) == 1
    for part in (each.strip() for each in text.split(",")):
        owner, _, column = part.rpartition(".")
        if owner and not (alone or _names(owner, promise)):
            continue
        name = promise.column_called(column)
        if name in known or not known:
            yield Element(name)
        elif alone or owner:
            yield Element(name, f"the contract has no column {name}.{did_you_mean(name, known)}".rstrip("."))


def column_extremes(
    catalog: Catalog, table: str, column: str, until: datetime, connection: DuckDBPyConnection | None = None
) -> Extremes | None:
    """
    Return the oldest and newest time in a column; None if it holds no times.

    :param connection: a DuckDB that serves one table after the other.
    :param until: later ones are left out: a clock that runs ahead makes nothing fresh.
    """
    from airflow_provider_phlo.quality.engines import open_engine
    from airflow_provider_phlo.sql import Query, quote_identifier

    with open_engine(catalog, table, connection=connection) as engine:
        source = engine.table(table)
        kind = engine.columns(source).get(column, "")
        if not kind.startswith(("TIMESTAMP", "DATE", "VARCHAR")):
            return None
        moment = engine.dialect.instant(quote_identifier(column), kind)
        newest = f"max(CASE WHEN {moment} <= ? THEN {moment} END)"
        sql = f"SELECT min({moment}), {newest} FROM {source}"  # noqa: S608 - quoted
        ((oldest, latest),) = engine.fetch(Query(sql, (until,)))
    # a day lasts until its end: what is of today is not as old as midnight
    if kind == "DATE" and latest is not None:
        latest += timedelta(days=1)
    return Extremes(oldest, latest)


def _names(owner: str, promise: Promise) -> bool:
    return owner in (promise.logical_name, promise.table, promise.table.rpartition(".")[2])
