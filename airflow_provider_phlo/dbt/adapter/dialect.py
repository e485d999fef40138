"""
The type that Jinja has for the target: DuckDB, whose SQL it is.

Projects and packages ask for ``target.type`` before they write SQL, and know of ``duckdb``: of a type that they do not
know they take what suits some other database, in silence. dbt asks nobody what to say there.
"""

from __future__ import annotations

from typing import Any

from dbt.config.profile import Profile
from dbt.context.providers import BaseDatabaseWrapper

TYPE = "phlo"
DIALECT = "duckdb"

_to_target_dict = Profile.to_target_dict
_type = BaseDatabaseWrapper.type


def _target(self: Profile) -> dict[str, Any]:
    """Return what Jinja has as ``target``."""
    target = _to_target_dict(self)
    return {**target, "type": DIALECT} if target["type"] == TYPE else target


def _adapter_type(self: BaseDatabaseWrapper) -> str:
    """Return what Jinja has as ``adapter.type()``."""
    found = str(_type(self))
    return DIALECT if found == TYPE else found


def say_duckdb() -> None:
    """Let Jinja of this process take the adapter for DuckDB's; macros are dispatched as before."""
    Profile.to_target_dict = _target
    BaseDatabaseWrapper.type = _adapter_type
