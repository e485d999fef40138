"""Names in GraphQL: letters, digits and underscores, and different from each other."""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_provider_phlo.exceptions import ConfigurationError

_POSSIBLE = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")
_OTHER = re.compile(r"[^_0-9A-Za-z]+")


def graphql_name(name: str) -> str:
    """
    Return the name of a view or column in GraphQL, the same if it can be.

    Other characters become underscores; one that has no letter at all is written by its code points. GraphQL keeps
    names that begin with two underscores to itself.
    """
    if _POSSIBLE.fullmatch(name) and not name.startswith("__"):
        return name
    plain = _OTHER.sub("_", name).strip("_")
    if not plain:
        plain = "_".join(f"u{ord(letter):x}" for letter in name if not letter.isspace())
    return plain if not plain[0].isdigit() else f"_{plain}"


def require_different(where: str, names: Iterable[str]) -> dict[str, str]:
    """
    Return names → what they are called in GraphQL.

    :raises ConfigurationError: two would be called the same.
    """
    found: dict[str, str] = {}
    for name in names:
        called = graphql_name(name)
        for other, taken in found.items():
            if taken == called:
                raise ConfigurationError(
                    f"{where}: {other} and {name} would both be {called} in GraphQL. Rename one of them."
                )
        found[name] = called
    return found
