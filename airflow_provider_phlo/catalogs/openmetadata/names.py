"""OpenMetadata's fully qualified names, and the characters that its names cannot have."""

from __future__ import annotations

from urllib.parse import quote

from airflow_provider_phlo.exceptions import ConfigurationError

_LONGEST = 256
# as OpenMetadata's own connectors write them; its pages show the display name
_RESERVED = {
    "::": "__reserved__colon__",
    ">": "__reserved__arrow__",
    '"': "__reserved__quote__",
    "\n": "__reserved__newline__",
    "\r": "__reserved__carriage_return__",
    "\t": "__reserved__tab__",
}


def entity_name(name: str) -> str:
    """
    Return what OpenMetadata calls an entity or column of that name.

    :raises ConfigurationError: it cannot have one: the name is empty, or too long for it.
    """
    for characters, word in _RESERVED.items():
        name = name.replace(characters, word)
    if not 1 <= len(name) <= _LONGEST:
        raise ConfigurationError(
            f"OpenMetadata cannot have the name {name[:40]}…: it would have {len(name)} characters, of 1 to {_LONGEST}."
        )
    return name


def quoted(name: str) -> str:
    """Return an entity's name as a part of a fully qualified one: in quotes if it has a dot."""
    return f'"{name}"' if "." in name else name


def fully_qualified(*names: str) -> str:
    """Return the fully qualified name of an entity, by the names of those it is in, from the service on."""
    return ".".join(quoted(entity_name(name)) for name in names)


def below(parent: str, *names: str) -> str:
    """Return the fully qualified name of what is in an entity."""
    return ".".join([parent, fully_qualified(*names)])


def in_path(fqn: str) -> str:
    """Return a fully qualified name as a part of a URL's path."""
    return quote(fqn, safe="")
