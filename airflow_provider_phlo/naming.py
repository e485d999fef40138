"""How tables are named in Airflow: ``namespace.table`` and ``iceberg://<catalog>/<namespace>/<table>``."""

from __future__ import annotations

import re

from airflow_provider_phlo import settings
from airflow_provider_phlo.exceptions import ConfigurationError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
# characters of namespace and name: folders and files are named after both, with something added
_LONGEST = 200


def qualified_table(table: str) -> str:
    """
    Return ``namespace.table``, with the default namespace for a bare name.

    :param table: ``table`` or ``namespace.table``.
    :raises ConfigurationError: if it is neither, or longer than 200 characters.
    """
    if not _IDENTIFIER.fullmatch(table):
        raise ConfigurationError(
            f"{table!r} is not a table name: write 'table' or 'namespace.table' with letters, digits and underscores."
        )
    if len(table) > _LONGEST:
        raise ConfigurationError(
            f"{table[:40]}… is too long for a table name: {len(table)} characters, at most {_LONGEST} are possible."
        )
    return table if "." in table else f"{settings.default_namespace()}.{table}"


def asset_uri(table: str) -> str:
    """Return the URI under which Airflow knows ``table``."""
    namespace, _, name = qualified_table(table).partition(".")
    return f"iceberg://{settings.catalog_name()}/{namespace}/{name}"
