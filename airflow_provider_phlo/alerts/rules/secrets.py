"""Secrets that somebody has written into a file: refused by name, before anything is sent with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_phlo.yaml_lines import KeyPath

# names of arguments that are secrets; names that end in conn_id are those of connections
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:passw(?:or)?d|pass|pwd|secret|tokens?|credentials?|authorization|auth|cookie|(?:api|integration|"
    r"routing|service|access|private|webhook|shared)[_-]?key|webhook(?:[_-]?ur[il])?|signature|sig)$|api-?key|apikey",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
# addresses whose path is the secret
_SECRET_PATHS = re.compile(
    r"^https?://(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|[^/]*\.webhook\.office\.com|"
    r"[^/]*\.logic\.azure\.com|chat\.googleapis\.com|api\.telegram\.org/bot|hooks\.zapier\.com|maker\.ifttt\.com)",
    re.IGNORECASE,
)
# a long word of letters and digits in the path of an address
_LONG_WORD = re.compile(r"(?=[A-Za-z0-9_-]*\d)(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9_-]{20,}")
_AUTHORIZED = re.compile(r"^(?:bearer|basic|token|genie\s*key)\s+\S", re.IGNORECASE)
_SCHEME = re.compile(r"^\s*(?:bearer|basic|token|genie\s*key)\s*$", re.IGNORECASE)
_CURE = "write ${VARIABLE}, or name a connection that has it."


def literal_secrets(values: Any) -> Iterator[tuple[KeyPath, str]]:
    """
    Yield the keys below ``destinations`` whose values are secrets, or look like it, and what is wrong with each.

    :param values: what the file has, before variables are replaced.
    """
    destinations = values.get("destinations") if isinstance(values, dict) else None
    yield from _below(destinations, ("destinations",))


def _below(value: Any, key: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _below(inner, (*key, str(name)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _below(inner, (*key, str(number)))
    elif value not in (None, "") and not isinstance(value, bool):
        problem = _problem(key, str(value))
        if problem:
            yield key, problem


def _problem(key: KeyPath, text: str) -> str:
    literal = _SCHEME.sub("", _REFERENCE.sub("", text))
    named = next((part for part in reversed(key[2:]) if not part.isdecimal()), "")
    if _SECRET_NAME.search(named) and literal.strip() and not _is_template(literal):
        return f"is a secret, and this file is not the place for it: {_CURE}"
    if is_secret_value(literal):
        return f"holds a secret, and this file is not the place for it: {_CURE}"
    return ""


def _is_template(text: str) -> bool:
    """Return whether a text is nothing but a template, such as ``{{ key }}``."""
    return text.strip().startswith("{{") and text.strip().endswith("}}")


def is_secret_value(text: str) -> bool:
    """Return whether a text is a secret by what it looks like: an address with a password or key, a header."""
    if _AUTHORIZED.match(text.strip()):
        return True
    if "://" not in text:
        return False
    try:
        parts = urlsplit(text.strip())
        credentials = parts.username or parts.password
    except ValueError:
        return False
    by_query = any(_SECRET_NAME.search(name) and value for name, value in parse_qsl(parts.query))
    return bool(credentials or by_query or _SECRET_PATHS.match(text.strip()) or _LONG_WORD.search(parts.path))
