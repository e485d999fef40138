"""Figures of tables over a period: rows per day and by what became of them, volume, freshness."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_phlo.terms import QUARANTINE_SUFFIX, PartitionDate

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.metrics.loads import TableLoads


@dataclass(frozen=True)
class Period:
    """
    A period: from ``since`` on, before ``until``; both in UTC.

    :param text: as it was asked for: ``24h``, ``7d``.
    """

    since: datetime.datetime
    until: datetime.datetime
    text: str

    def days(self) -> list[datetime.date]:
        """Return the days (UTC) that it touches."""
        first, last = self.since.date(), (self.until - datetime.timedelta(microseconds=1)).date()
        return [first + datetime.timedelta(days=number) for number in range((last - first).days + 1)]


@dataclass(frozen=True)
class TableFigures:
    """
    What a period did to one table.

    :param total_rows: how many rows it has now; None if nothing says so.
    :param loads: publications.
    :param counts: rows by what became of them; what no writer of the period reports is not in there.
    :param per_day: the same for each day (UTC) of the period, by the time of publication.
    :param volume: rows that were inserted, updated or deleted; for writers that do not say so, rows that they wrote.
    :param last_at: when the table was last published, in the period or before it; None if that is not known.
    :param partition_date: of that publication.
    :param unknown_before: what was written in the period before this moment has expired, and is in no figure.
    :param undone: snapshots that main was set back from: they are in no figure.
    """

    table: str
    total_rows: int | None
    loads: int
    counts: Mapping[str, int]
    per_day: Mapping[datetime.date, Mapping[str, int]]
    volume: int
    last_at: datetime.datetime | None
    partition_date: PartitionDate
    unknown_before: datetime.datetime | None
    undone: int


def table_figures(loads: TableLoads, period: Period) -> TableFigures:
    """Return the figures of one table."""
    found = loads.within(period.since, period.until)
    total: Counter[str] = Counter()
    per_day: dict[datetime.date, Counter[str]] = {day: Counter() for day in period.days()}
    for load in found:
        # adding Counters would leave zeros out: a run that read nothing has said so
        for name, count in load.counts.items():
            total[name] += count
            per_day[load.at.date()][name] += count
    last = loads.last
    return TableFigures(
        table=loads.table,
        total_rows=loads.total_rows,
        loads=len(found),
        counts=dict(total),
        per_day={day: dict(counts) for day, counts in per_day.items()},
        volume=sum(load.volume for load in found),
        last_at=last.at if last else None,
        partition_date=last.partition_date if last else "",
        unknown_before=None if loads.is_known_from(period.since) else loads.known_since,
        undone=loads.undone,
    )


def catalog_figures(catalog: Catalog, period: Period, tables: Iterable[str] | None = None) -> list[TableFigures]:
    """
    Return the figures of tables, largest volume first; only their metadata is read.

    :param tables: as ``namespace.table``; all of the catalog when None, but for quarantines, whose records their own
        tables count.
    """
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.metrics.loads import table_loads

    names = [name for name in all_tables(catalog) if not name.endswith(QUARANTINE_SUFFIX)] if tables is None else tables
    found = (find_table(catalog, name) for name in names)
    figures = [table_figures(table_loads(table), period) for table in found if table is not None]
    return sorted(figures, key=lambda each: (-each.volume, each.table))
