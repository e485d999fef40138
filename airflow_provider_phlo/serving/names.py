"""Names of views, tables, columns and roles, as PostgreSQL can have them."""

from __future__ import annotations

from airflow_provider_phlo.exceptions import ConfigurationError

BYTES = 63
# what GRANT takes for somebody else
_NO_ROLES = frozenset({"current_role", "current_user", "none", "public", "session_user"})


def require_name(where: str, name: str) -> str:
    """
    Return a name that PostgreSQL keeps as it is.

    :raises ConfigurationError: it is empty, has U+0000, or is too long.
    """
    if not name or "\0" in name:
        raise ConfigurationError(f"{where} is not possible: PostgreSQL has no names that are empty or have U+0000.")
    size = len(name.encode())
    if size > BYTES:
        raise ConfigurationError(
            f"{where} is {name}, of {size} bytes: PostgreSQL truncates names after {BYTES}. Set meta.api_name, or an "
            "alias."
        )
    return name


def require_role(where: str, role: str) -> str:
    """
    Return the name of a role that requests may come as.

    :raises ConfigurationError: PostgreSQL has no such roles, or it is one of those that have another meaning.
    """
    require_name(where, role)
    if role.lower() in _NO_ROLES or role.startswith("pg_") or role == "authenticator":
        raise ConfigurationError(f"{where} names {role}, as which no request can come.")
    return role
