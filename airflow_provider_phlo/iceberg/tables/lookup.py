"""Find tables, and the tables beside them in which runs stage what Trino is to merge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import BadRequestError, NoSuchNamespaceError, NoSuchTableError, ValidationError
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError

_UNKNOWN_TYPE = re.compile(r"Unsupported field type: '(\w+)'")
# the table in which a run stages what Trino is to merge
STAGING = re.compile(r"(?P<table>.+)__staging_(?P<token>[^.]+)")


def staging_name(identifier: str, token: str) -> str:
    """Return the name of a run's staging table."""
    return f"{identifier}__staging_{token}"


def is_staging(identifier: str) -> bool:
    """Return whether this is the name of a staging table."""
    return STAGING.fullmatch(identifier) is not None


def namespaces(catalog: Catalog, within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every namespace, each followed by those inside it."""
    try:
        found = catalog.list_namespaces(within)
    except (BadRequestError, NoSuchNamespaceError, NotImplementedError):
        if not within:
            raise
        return  # the server has one level only, or this one has just been dropped
    for namespace in found:
        # a server that has one level only may answer with all of it again
        if len(namespace) == len(within) + 1 and namespace[:-1] == within:
            yield namespace
            yield from namespaces(catalog, namespace)


def table_names(catalog: Catalog) -> Iterator[str]:
    """Yield every table of the catalog as ``namespace.table``, of namespaces inside others, too."""
    for namespace in namespaces(catalog):
        yield from map(".".join, catalog.list_tables(namespace))


def existing_table(catalog: Catalog, identifier: str) -> Table:
    """
    Return a table that must exist.

    :raises ConfigurationError: it does not, or PyIceberg does not know one of its types.
    """
    table = find_table(catalog, identifier)
    if table is None:
        raise ConfigurationError(
            f"Table {identifier} does not exist in catalog {catalog.name!r}. "
            "Run what writes it first, or correct the name."
        )
    return table


def find_table(catalog: Catalog, identifier: str) -> Table | None:
    """
    Return the table, or None if there is none.

    :raises ConfigurationError: if PyIceberg does not know one of its types.
    """
    return _found(catalog.load_table, identifier)


def find_current_table(catalog: Catalog, identifier: str) -> Table | None:
    """
    Return the table as it is now, or None if there is none; snapshots before the current one may be missing.

    :raises ConfigurationError: if PyIceberg does not know one of its types.
    """
    return _found(getattr(catalog, "current_table", catalog.load_table), identifier)


def _found(load: Callable[[str], Table], identifier: str) -> Table | None:
    try:
        return load(identifier)
    except NoSuchTableError:
        return None
    except ValidationError as error:
        unknown = _UNKNOWN_TYPE.search(str(error))
        if unknown is None:
            raise
        raise ConfigurationError(
            f"{identifier} has a column of type {unknown[1]}, whose metadata PyIceberg does not read: use the table "
            "with the engine that made it, or leave the column out there."
        ) from None


def column_names(table: Table) -> list[str]:
    """Return the names of the columns; PyIceberg's list has the members of nested ones too."""
    return [item.name for item in table.schema().fields]
