"""
What reads, writes and names the files of tables: the connection and the catalog's server decide, never a table.

PyIceberg takes settings from a table's properties too, which any writer of the table sets: a class to import, an
endpoint that the connection's credentials would be sent to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyiceberg.io import PY_IO_IMPL, FileIO, load_file_io
from pyiceberg.table import TableProperties
from pyiceberg.table.locations import LocationProvider, load_location_provider

from airflow_provider_phlo.exceptions import ConfigurationError

_LOCATIONS = TableProperties.WRITE_PY_LOCATION_PROVIDER_IMPL
_OF_PYICEBERG = "pyiceberg.io."
# settings that name classes of Java's; servers send them to every client, and PyIceberg does not look at them
_OF_JAVA = frozenset({"io-impl", "catalog-impl"})


def file_io(settings: Mapping[str, str], location: str | None) -> FileIO:
    """
    Return what opens files.

    :param settings: the connection's, and what the catalog's server has added for a table.
    :param location: of the metadata file, whose scheme says which store it is.
    :raises ConfigurationError: they name Python code that is not PyIceberg's own.
    """
    for name in _code(settings):
        raise ConfigurationError(
            f"The catalog asks for code of its own to read {location} ({name}), which is not run here. Have its server "
            "leave that setting out. A retry does not help."
        )
    from airflow_provider_phlo.iceberg.catalogs.whole_locations import with_whole_locations

    return with_whole_locations(load_file_io(dict(settings), location))


def _code(settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        if not name.endswith("-impl") or name in _OF_JAVA:
            continue
        if name != PY_IO_IMPL or not str(value).startswith(_OF_PYICEBERG):
            yield name


def location_provider(location: str, properties: Mapping[str, str]) -> LocationProvider:
    """
    Return what names the new files of a table.

    :param location: the table's.
    :param properties: the table's.
    :raises ConfigurationError: they name Python code that would do it.
    """
    if problem := code_of_table(properties):
        raise ConfigurationError(f"{location}: {problem}")
    return load_location_provider(location, dict(properties))


def code_of_table(properties: Mapping[str, str]) -> str | None:
    """Return what is wrong with a table whose properties name code to run; None if they do not."""
    if not properties.get(_LOCATIONS):
        return None
    return f"{_LOCATIONS} names Python code, and code that a table's writers choose is not run here"
