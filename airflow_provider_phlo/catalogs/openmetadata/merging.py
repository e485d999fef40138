"""
What changes at a table that OpenMetadata has: its columns are ours, what people have written there is theirs.

Descriptions are written where there is none, or where all of them still are as we left them. Tags and owners are added,
never taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from airflow_provider_phlo.catalogs.openmetadata.bodies import Body

# what of a column is ours; all else (descriptions, tags, profiles, custom properties) stays as it is
_OURS = (
    *("displayName", "dataType", "dataTypeDisplay", "arrayDataType", "dataLength", "precision", "scale"),
    *("constraint", "ordinalPosition"),
)
_OF_TABLE = ("displayName", "tableType", "locationPath", "tableConstraints")


@dataclass
class Merged:
    """
    The changes of a table.

    :param operations: as a JSON patch.
    :param kept: what is described otherwise there, and stays so.
    :param docs: a hash of all descriptions as they are then.
    """

    operations: list[Body] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    docs: str = ""


def merge_table(theirs: Mapping[str, Any], ours: Body, last_docs: str) -> Merged:
    """
    Return what changes.

    :param theirs: the table as OpenMetadata has it.
    :param ours: the body with which it would be created.
    :param last_docs: the hash of its descriptions as we left them the last time.
    """
    found = Merged()
    untouched = bool(last_docs) and docs_hash(theirs) == last_docs
    columns = _merged_columns(theirs.get("columns") or [], ours["columns"], untouched, found.kept, "")
    table = {name: ours[name] for name in _OF_TABLE if ours.get(name) and theirs.get(name) != ours[name]}
    description = _text(theirs.get("description"), ours.get("description"), untouched)
    if description is None:
        found.kept.append("its description")
    elif description != (theirs.get("description") or ""):
        table["description"] = description
    if columns != (theirs.get("columns") or []):
        table["columns"] = columns
    found.operations = [
        {"op": "replace" if name in theirs else "add", "path": f"/{name}", "value": value}
        for name, value in table.items()
    ]
    found.docs = docs_hash({**theirs, **table})
    return found


def _merged_columns(
    theirs: Sequence[Mapping[str, Any]], ours: Sequence[Body], untouched: bool, kept: list[str], above: str
) -> list[Body]:
    known = {each["name"]: each for each in theirs}
    return [_merged_column(known.get(each["name"], {}), each, untouched, kept, above) for each in ours]


def _merged_column(theirs: Mapping[str, Any], ours: Body, untouched: bool, kept: list[str], above: str) -> Body:
    if not theirs:
        return ours
    name = f"{above}{ours['name']}"
    merged = {key: value for key, value in theirs.items() if key not in _OURS or key in ours}
    merged |= {key: ours[key] for key in _OURS if key in ours}
    description = _text(theirs.get("description"), ours.get("description"), untouched)
    if description is None:
        kept.append(f"the description of {name}")
    elif description:
        merged["description"] = description
    children = _merged_columns(theirs.get("children") or [], ours.get("children", []), untouched, kept, f"{name}.")
    if children or theirs.get("children"):
        merged["children"] = children
    known = {tag["tagFQN"] for tag in theirs.get("tags") or ()}
    added = [tag for tag in ours.get("tags", ()) if tag["tagFQN"] not in known]
    if added:
        merged["tags"] = [*(theirs.get("tags") or ()), *added]
    return merged


def _text(theirs: str | None, ours: str | None, untouched: bool) -> str | None:
    """Return the description to have; None if theirs, which is another one, stays."""
    if not ours or theirs == ours:
        return theirs or ""
    return ours if untouched or not theirs else None


def docs_hash(table: Mapping[str, Any]) -> str:
    """Return a hash of all descriptions of a table and its columns."""
    texts = [("", table.get("description") or ""), *_texts(table.get("columns") or (), "")]
    return short_hash([each for each in texts if each[1]])


def _texts(columns: Sequence[Mapping[str, Any]], above: str) -> Iterator[tuple[str, str]]:
    for column in columns:
        name = f"{above}{column['name']}"
        yield name, column.get("description") or ""
        yield from _texts(column.get("children") or (), f"{name}.")


def short_hash(value: Any) -> str:
    """Return six characters that are different for different values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=3).hexdigest()
