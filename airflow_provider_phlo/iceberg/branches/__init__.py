"""Branches: commit to a table, move main to what a run has written once it is audited, look and go back in history."""

from __future__ import annotations

from airflow_provider_phlo.iceberg.branches.run_branches import (
    BRANCH_PREFIX,
    STATE_PROPERTY,
    UNDONE_PROPERTY,
    WITHDRAWN,
    branch_name,
    commit,
    create,
    drop,
    is_of_a_run,
    move_main,
    token_of,
    undone_snapshots,
    undone_text,
    withdraw,
)

__all__ = [
    "BRANCH_PREFIX",
    "STATE_PROPERTY",
    "UNDONE_PROPERTY",
    "WITHDRAWN",
    "branch_name",
    "commit",
    "create",
    "drop",
    "is_of_a_run",
    "move_main",
    "token_of",
    "undone_snapshots",
    "undone_text",
    "withdraw",
]
