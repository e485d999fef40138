"""
The facts about every table of a catalog, each read only when the table has changed.

A metadata file is never written again, so what was found in one is kept by its name. An SQL catalog says in one query
which file is current of each table; a REST catalog hands out the metadata itself, table by table, several at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pyiceberg.exceptions import NoSuchTableError

from airflow_provider_phlo.exceptions import ConfigurationError, TerminalError
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.duckdb.views import all_tables
from airflow_provider_phlo.iceberg.tables.lookup import is_staging
from airflow_provider_phlo.library_errors import without_values
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX
from airflow_provider_phlo.watching.facts import TableFacts, facts_of

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

# tables that a process keeps facts about, of all catalogs
KEPT = 5_000
_THREADS = 8


@dataclass(frozen=True)
class Unreadable:
    """
    A table whose metadata could not be read, and why.

    :param lasts: whether no later attempt can succeed.
    """

    table: str
    problem: str
    lasts: bool = False


class FactsCache:
    """Facts by metadata file; several threads may use it."""

    def __init__(self) -> None:
        self._facts: OrderedDict[str, TableFacts] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, location: str) -> TableFacts | None:
        """Return what was found in a metadata file, None if that is not known."""
        with self._lock:
            found = self._facts.get(location)
            if found is not None:
                self._facts.move_to_end(location)
            return found

    def put(self, location: str, facts: TableFacts) -> None:
        """Keep what was found, in the place of what was used least recently."""
        with self._lock:
            self._facts[location] = facts
            self._facts.move_to_end(location)
            while len(self._facts) > KEPT:
                self._facts.popitem(last=False)


#: What this process knows: a triggerer runs every round anew.
KNOWN = FactsCache()


def read_facts(catalog: Catalog, now: datetime, known: FactsCache = KNOWN) -> list[TableFacts | Unreadable]:
    """
    Return the facts about every table, by name; of one that cannot be read, why. Quarantines are left out.

    :raises TransientError: the catalog itself does not answer.
    """
    locations, load = _tables(catalog)
    names = sorted(name for name in locations if not is_staging(name) and not name.endswith(QUARANTINE_SUFFIX))
    found: dict[str, TableFacts | Unreadable | None] = {name: known.get(locations[name]) for name in names}
    missing = [name for name in names if found[name] is None]
    with ThreadPoolExecutor(_THREADS, "phlo-watch") as pool:
        read = pool.map(lambda name: _read(catalog, name, load, now, known), missing)
        found.update(zip(missing, read, strict=True))
    return [facts for name in names if (facts := found[name]) is not None]


def _tables(catalog: Catalog) -> tuple[dict[str, str], Callable[[str], Table]]:
    """Return the metadata file of each table, empty where the catalog does not say, and what loads a table."""
    if not isinstance(catalog, CachingSqlCatalog):
        return dict.fromkeys(all_tables(catalog), ""), catalog.load_table
    locations = catalog.metadata_locations()
    return locations, lambda name: catalog.table_at(name, locations[name])


def _read(
    catalog: Catalog, name: str, load: Callable[[str], Table], now: datetime, known: FactsCache
) -> TableFacts | Unreadable | None:
    """Return the facts about one table; None if it was dropped since it was listed."""
    try:
        try:
            table = load(name)
        except OSError:  # its metadata file was replaced, and removed, since it was listed
            table = catalog.load_table(name)
        location = table.metadata_location or ""  # a REST catalog need not say it
        facts = known.get(location) or facts_of(table, now)
    except NoSuchTableError:
        return None
    except Exception as error:  # noqa: BLE001 - a table that cannot be read is a verdict, and stops no round
        safe = without_values(error)
        return Unreadable(name, str(safe), isinstance(safe, ConfigurationError | TerminalError))
    if facts.is_final and location:
        known.put(location, facts)
    return facts
