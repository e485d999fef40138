"""The tables of a catalog that checks read, one snapshot of each for the whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


class CatalogTables:
    """
    The tables of a catalog as they were when each was first read: all checks of one run see the same snapshot.

    :param namespace: the namespace of bare names.
    :param branch: the branch to read where a table has it; main of the others.
    """

    def __init__(self, catalog: Catalog, namespace: str, branch: str | None) -> None:
        self._catalog, self._namespace, self._branch = catalog, namespace, branch
        self._tables: dict[str, Table] = {}

    def qualified(self, name: str) -> str:
        """Return ``namespace.table`` for a bare name too."""
        return name if "." in name else f"{self._namespace}.{name}"

    def add(self, name: str, table: Table) -> None:
        """
        Read a table from now on as it is.

        :raises ConfigurationError: names of its columns differ in upper and lower case only.
        """
        from airflow_provider_phlo.iceberg.tables.names import require_distinct_names

        require_distinct_names(name, table.schema())
        self._tables[name] = table

    def loaded(self, name: str) -> Table:
        """Return a table as it is read; :meth:`.SQLEngine.table` has been asked for it before."""
        return self._tables[name]

    def snapshot_id(self, name: str) -> int | None:
        """Return the snapshot that is read; for a merge that Trino has staged, the one that it is planned on."""
        refs = self._tables[name].refs()
        ref = refs.get(self._branch or MAIN_BRANCH) or refs.get(MAIN_BRANCH)
        return ref.snapshot_id if ref else None
