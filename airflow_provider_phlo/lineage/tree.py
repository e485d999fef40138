"""Lineage as a tree of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airflow_provider_phlo.lineage.graph import CHECKING, Kind, Node
from airflow_provider_phlo.lineage.walking import EVERYTHING, UNKNOWN, Step

_BRANCH, _LAST, _LINE, _GAP = "├── ", "└── ", "│   ", "    "


def tree_lines(steps: Sequence[Step]) -> Iterator[tuple[str, Step]]:
    """
    Yield the lines of a walk: what is drawn before each step, and the step.

    The cost is that of the steps, however deep the tree is.
    """
    last = _last_of_their_depth(steps)
    open_depths: list[bool] = []
    for step, ends in zip(steps, last, strict=True):
        del open_depths[step.depth - 1 :]
        drawn = "".join(_LINE if goes_on else _GAP for goes_on in open_depths)
        yield drawn + (_LAST if ends else _BRANCH), step
        open_depths.append(not ends)


def _last_of_their_depth(steps: Sequence[Step]) -> list[bool]:
    """Return for each step whether no other of its depth follows below the same one."""
    last = [False] * len(steps)
    seen: list[bool] = []  # by depth, from the end
    for place in range(len(steps) - 1, -1, -1):
        depth = steps[place].depth
        while len(seen) < depth:
            seen.append(False)
        last[place] = not seen[depth - 1]
        seen[depth - 1] = True
        del seen[depth:]
    return last


def name_of(node: Node, column: str | None = None) -> str:
    """Return what people call a node, or a column of it."""
    if node.kind is Kind.TEST and node.detail:
        return node.detail
    if node.kind in CHECKING or node.kind in (Kind.SOURCE, Kind.DASHBOARD):
        name = node.names[0] if node.names else node.id
    else:
        name = node.names[0] if node.id.startswith("model.") and node.names else node.id
    if column is None or column == EVERYTHING:
        return name
    return f"{name}.{quoted(column)}" if node.kind is not Kind.SOURCE else f"{name} {column.rpartition('.')[2]}"


def quoted(column: str) -> str:
    """Return a column's name as ``show`` takes it."""
    return '"' + column.replace('"', '""') + '"' if set(column) & set('."') else column


def notes_of(step: Step, dags: Sequence[str]) -> list[str]:
    """
    Return what is said of a step besides its name.

    :param dags: those of the walk's start, which are not said again.
    """
    node = step.node
    notes = [str(node.kind)]
    if step.how and step.how != UNKNOWN and node.kind not in CHECKING:
        notes.append(f"rows {step.how}" if step.column is None else step.how)
    notes += [node.detail] if node.detail and node.kind is not Kind.TEST else []
    notes += [", ".join(node.dags)] if node.dags and node.dags != dags else []
    reason = reason_of(step)
    notes += [f"unknown: {reason}"] if reason else []
    return [*notes, "see above"] if step.seen else notes


def reason_of(step: Step) -> str | None:
    """Return why something of a step is not known; None if it is."""
    columns = step.node.columns
    if step.column is not None:
        return columns[step.column].unknown if step.column in columns else None
    if step.how != UNKNOWN:
        return None
    return step.node.unknown or next((column.unknown for column in columns.values() if column.unknown), None)
