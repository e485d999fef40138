"""
Put the metadata of what is served into what a server has: what others have made of it stays.

Permissions and relationships that were made here carry a comment that says so. Of a view of ours, they are replaced;
those of others stay, and one of theirs where ours is to be is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.hasura.metadata import OURS, Metadata, new_source

_PARTS = {"object_relationships": "name", "array_relationships": "name", "select_permissions": "role"}
_WORDS = {"object_relationships": "relationship", "array_relationships": "relationship",
          "select_permissions": "select permission of"}  # fmt: skip
Entry = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """
    What has to change about one part of a table.

    :param what: the part, in words.
    :param change: ``add``, ``change`` or ``remove``.
    """

    table: str
    what: str
    change: str


@dataclass(frozen=True)
class Merged:
    """
    What a server is to have.

    :param document: its whole metadata.
    :param differences: what of it changes.
    :param notes: what somebody should know of what stays.
    """

    document: Mapping[str, Any]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Scope:
    """
    Which views of a server are looked at.

    :param schema: the schema of the views.
    :param unchosen: names of views whose models were not chosen: they keep what they have.
    :param prune: whether views that no model is served as any more lose what was made here.
    """

    schema: str
    unchosen: Set[str] = frozenset()
    prune: bool = False

    def is_unchosen(self, table: Any) -> bool:
        """Return whether a table, as Hasura names it, is a view whose model was not chosen."""
        schema, _, name = _name({"table": table}).partition(".")
        return schema == self.schema and name in self.unchosen


def merge(current: Mapping[str, Any], wanted: Metadata, scope: Scope) -> Merged:
    """
    Return what a server is to have.

    :param current: what it has.
    :raises ConfigurationError: its metadata is of another version, or somebody else has made a part that is to be ours.
    """
    _require_version(current)
    document = deepcopy(dict(current))
    source = _source(document, wanted.source)
    differences: list[Difference] = []
    tables = source.setdefault("tables", [])
    known = {_name(entry): entry for entry in tables}
    names = set()
    for entry in wanted.tables:
        name = _name(entry)
        names.add(name)
        there = known.get(name)
        if there is None:
            tables.append(deepcopy(dict(entry)))
            differences.append(Difference(name, "view", "add"))
        else:
            differences += _merge_entry(there, entry, name, scope)
    notes = []
    for name, entry in known.items():
        if name in names or _schema(entry) != scope.schema or scope.is_unchosen(entry["table"]):
            continue
        if scope.prune or not _has_ours(entry):
            differences += _merge_entry(entry, {}, name, scope)
            notes.append(f"{name} is tracked, and no model is served as that: what others permit on it stays.")
        else:
            notes.append(
                f"{name} is tracked with what was made here, and no model is served as that: --prune takes it away."
            )
    return Merged(document, tuple(differences), tuple(notes))


def _require_version(current: Mapping[str, Any]) -> None:
    if current.get("version") != 3 or not isinstance(current.get("sources", []), list):
        raise ConfigurationError(
            f"The server's metadata is of version {current.get('version')!r}, and not 3: Hasura 2 and later have that. "
            "Nothing was changed."
        )


def _source(document: Entry, name: str) -> Entry:
    sources = document.setdefault("sources", [])
    for source in sources:
        if source.get("name") == name:
            if source.get("kind", "postgres") != "postgres":
                raise ConfigurationError(
                    f"The server's source {name} is {source['kind']}, and not postgres: name another one (--source). "
                    "Nothing was changed."
                )
            return dict_of(source)
    sources.append(new_source(name))
    return dict_of(sources[-1])


def dict_of(value: Any) -> Entry:
    """Return a value that has to be an object."""
    if not isinstance(value, dict):
        raise ConfigurationError("The form of the server's metadata is not that of Hasura. Nothing was changed.")
    return value


def _has_ours(entry: Entry) -> bool:
    return any(each.get("comment") == OURS for part in _PARTS for each in entry.get(part) or ())


def _merge_entry(there: Entry, wanted: Mapping[str, Any], name: str, scope: Scope) -> Iterator[Difference]:
    """Put our parts into an entry, and yield what changes."""
    configuration = wanted.get("configuration")
    if configuration is not None:
        merged = {**(there.get("configuration") or {}), **configuration}
        if merged != there.get("configuration"):
            there["configuration"] = merged
            yield Difference(name, "names and comments", "change")
    for part, key in _PARTS.items():
        yield from _merge_part(there, part, key, wanted.get(part, ()), name, scope)


def _merge_part(
    there: Entry, part: str, key: str, wanted: Sequence[Mapping[str, Any]], name: str, scope: Scope
) -> Iterator[Difference]:
    existing = {str(each[key]): each for each in there.get(part) or ()}
    new = {str(each[key]): each for each in wanted}
    kept = []
    for each, entry in existing.items():
        ours = entry.get("comment") == OURS
        what = f"{_WORDS[part]} {each}"
        if each in new:
            if not ours and _meaning(entry) != _meaning(new[each]):
                raise ConfigurationError(
                    f"{name} has a {what} that was not made by this command, and differs from what the models say. "
                    "Remove it in Hasura, or change the models. Nothing was changed."
                )
            if entry != new[each] and ours:
                yield Difference(name, what, "change")
            kept.append(new[each] if ours else entry)
        elif ours and not _leads_to_unchosen(entry, scope):
            yield Difference(name, what, "remove")
        else:
            kept.append(entry)
    for each in new.keys() - existing.keys():
        yield Difference(name, f"{_WORDS[part]} {each}", "add")
    kept += [dict(entry) for each, entry in new.items() if each not in existing]
    if kept or part in there:
        there[part] = [deepcopy(dict(each)) for each in kept]
        if not kept:
            del there[part]


def _leads_to_unchosen(entry: Mapping[str, Any], scope: Scope) -> bool:
    """Return whether an entry is a relationship with a view whose model was not chosen."""
    using = entry.get("using")
    manual = using.get("manual_configuration") if isinstance(using, Mapping) else None
    return isinstance(manual, Mapping) and scope.is_unchosen(manual.get("remote_table"))


def _meaning(entry: Mapping[str, Any]) -> Any:
    """Return what an entry says, without what is as by default."""
    permission = entry.get("permission")
    said = {name: value for name, value in entry.items() if name not in ("comment", "permission")}
    if isinstance(permission, Mapping):
        columns = permission.get("columns")
        rest = {name: value for name, value in permission.items() if value not in (None, False, [])}
        said["permission"] = {**rest, "columns": sorted(columns) if isinstance(columns, list) else columns}
    return said


def _name(entry: Mapping[str, Any]) -> str:
    table = entry.get("table")
    if isinstance(table, str):
        return f"public.{table}"
    found = dict_of(table)
    return f"{found.get('schema', 'public')}.{found.get('name')}"


def _schema(entry: Mapping[str, Any]) -> str:
    table = entry["table"]
    return "public" if isinstance(table, str) else str(table.get("schema", "public"))
