"""
How tables are named in Airflow: ``namespace.table`` and ``iceberg://<catalog>/<namespace>/<table>``.

A namespace inside another is written with dots (``sales.eu`` of ``sales.eu.orders``); in SQL it is one quoted name.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from airflow_provider_phlo import settings
from airflow_provider_phlo.exceptions import ConfigurationError

# no dot, which is between names, and nothing that means something in a path, a URL or a pattern
_PART = r"[\w$@-](?:[\w $@-]*[\w$@-])?"
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
# bytes of namespace and name: folders and files are named after both, with something added
_LONGEST = 200


def qualified_table(table: str) -> str:
    """
    Return ``namespace.table``, with the default namespace for a bare name.

    :param table: ``table`` or ``namespace.table``, where a namespace may have several levels.
    :raises ConfigurationError: if it is neither, or longer than 200 bytes, or begins with the catalog's name.
    """
    if not _NAME.fullmatch(table):
        raise ConfigurationError(
            f"{table!r} is not a table name: write 'table' or 'namespace.table' with letters, digits, _, -, $, @ and "
            "spaces inside."
        )
    outer, _, inner = table.partition(".")
    if "." in inner and outer == settings.catalog_name():
        raise ConfigurationError(
            f"{table!r} is not a table name: the catalog's name is not a part of it. Write {inner!r}."
        )
    length = len(table.encode())
    if length > _LONGEST:
        raise ConfigurationError(
            f"{table[:40]}… is too long for a table name: {length} bytes, at most {_LONGEST} are possible."
        )
    return table if "." in table else f"{settings.default_namespace()}.{table}"


def asset_uri(table: str) -> str:
    """Return the URI under which Airflow knows ``table``."""
    namespace, _, name = qualified_table(table).rpartition(".")
    return f"iceberg://{settings.catalog_name()}/{_in_url(namespace)}/{_in_url(name)}"


def _in_url(text: str) -> str:
    return quote(text, safe="$@")
