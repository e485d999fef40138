"""Which table or other asset a name means."""

from __future__ import annotations

from collections.abc import Collection

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX


def find_name(name: str, tables: Collection[str], assets: Collection[str]) -> str:
    """
    Return the whole name: one that is written whole, else what ends so after a dot; tables come before other assets.

    :param name: ``events`` or ``raw.events``.
    :param tables: of the catalog.
    :param assets: that Airflow knows, by name.
    :raises ConfigurationError: there is none, or several.
    """
    if name in tables or name in assets:
        return name
    for known in (tables, assets):
        found = sorted(each for each in known if each.rpartition(".")[2] == name)
        if len(found) > 1:
            raise ConfigurationError(f"{name} may be {' or '.join(found)}: write the whole name.")
        if found:
            return found[0]
    known = sorted({each for each in (*tables, *assets) if not each.endswith(QUARANTINE_SUFFIX)})
    hint = did_you_mean(name, known) or did_you_mean(name, [each.rpartition(".")[2] for each in known])
    raise ConfigurationError(f"Table {name} does not exist, nor an asset of this name.{hint}")
