"""
What models declare of the API: which views there are, over which marts, who reads which of their columns and rows.

- ``meta.api_name``: the view's name; by default the model's without ``mrt_``;
- ``meta.api_roles`` of a model: the roles that read the view; by default ``api_user``;
- ``meta.api_roles`` of a column that is ``pii``: the roles that read it; by default nobody, and it is not in the view;
- ``meta.api_policy``: which rows they see, an SQL expression for all roles or one for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.publishing.dbt_models import declared_by
from airflow_provider_phlo.schemas.personal import is_not_pii, is_pii
from airflow_provider_phlo.serving.columns import KnownColumns
from airflow_provider_phlo.serving.expressions import require_expression
from airflow_provider_phlo.serving.names import require_name, require_role
from airflow_provider_phlo.sql import bare_identifier

PREFIX = "mrt_"
USER, ANONYMOUS, AUTHENTICATOR = "api_user", "api_anon", "authenticator"
_KINDS = ("model", "seed", "snapshot")
_META = frozenset({"api_name", "api_policy", "api_roles"})
_COLUMN_META = frozenset({"api_roles"})


@dataclass(frozen=True)
class Column:
    """
    A column of a view.

    :param roles: who reads it.
    :param kind: its type, as the model declares it; empty where it does not.
    """

    name: str
    comment: str
    roles: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True, eq=False)
class ServedMart:
    """
    A mart and the view over it.

    :param name: the view's name.
    :param table: the published table.
    :param model: dbt's id of the model.
    :param columns: the columns of the view; none if the model documents none: then it has all that the table has.
    :param left_out: columns that nobody may read: they are ``pii``.
    :param copies: those of them that do not say so themselves, but are copies of a column that does → that column.
    :param computed: columns that are served, and are computed from one that is ``pii`` → that column; they do not say
        whether they are ``pii``.
    :param roles: who reads the view.
    :param policies: role → the condition for a row to be seen; none if all rows are.
    :param policed: models with such conditions that it is built on, however far up, where it has none and says so of
        none: what is seen of them there does not decide what is seen of it.
    """

    name: str
    table: str
    model: str
    comment: str = ""
    columns: tuple[Column, ...] = ()
    left_out: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = (USER,)
    policies: Mapping[str, str] = field(default_factory=dict)
    policed: tuple[str, ...] = ()

    def readable_by(self, role: str) -> tuple[str, ...]:
        """Return the columns that a role reads."""
        return tuple(column.name for column in self.columns if role in column.roles)


@dataclass(frozen=True)
class Relationship:
    """
    Rows of two views that belong together, as dbt's test ``relationships`` says.

    :param many: the view whose column has values of the other's.
    :param one: that other view.
    :param unique: whether it has at most one row for a value.
    """

    many: ServedMart
    many_column: str
    one: ServedMart
    one_column: str
    unique: bool


@dataclass(frozen=True)
class Served:
    """All that is served."""

    marts: tuple[ServedMart, ...]
    relationships: tuple[Relationship, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """Return all roles that read something, and those that there are in any case."""
        return tuple(sorted({USER, ANONYMOUS, *(role for mart in self.marts for role in mart.roles)}))


def read_served(
    manifests: Iterable[Mapping[str, Any]],
    patterns: Sequence[str],
    columns: Mapping[str, KnownColumns] | None = None,
) -> Served:
    """
    Return what is served of the models whose names match a pattern.

    :param manifests: dbt's.
    :param patterns: names, with ``*`` and ``?``.
    :param columns: dbt's id of a model → what its SQL says of its columns; where that is nothing, those that the model
        documents are served.
    :raises ConfigurationError: nothing matches, or a model declares something that cannot be.
    """
    found: dict[str, ServedMart] = {}
    relationships: list[tuple[str, str, str, str, bool]] = []
    unmatched = set(patterns)
    for manifest in manifests:
        for node in manifest["nodes"].values():
            matching = _matching(node, patterns)
            unmatched -= matching
            if matching:
                known = (columns or {}).get(node["unique_id"], KnownColumns())
                found[node["unique_id"]] = _mart(node, known, _policed(manifest["nodes"], node))
        relationships += _relationships(manifest)
    if unmatched:
        raise ConfigurationError(
            f"No model is called {' or '.join(sorted(unmatched))}: name models as their files are named."
        )
    marts = tuple(sorted(found.values(), key=lambda mart: mart.name))
    _require_different(marts)
    related = {
        Relationship(found[many], many_column, found[one], one_column, unique)
        for many, many_column, one, one_column, unique in relationships
        if many in found and one in found
    }
    return Served(marts, tuple(sorted(_usable(related), key=_order)))


def names_of(manifests: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return dbt's id of each model that there is → its name in the API, if it were served."""
    return {
        node["unique_id"]: _name(node, meta_of(node), node["name"])
        for manifest in manifests
        for node in manifest["nodes"].values()
        if node["resource_type"] in _KINDS
    }


def _order(each: Relationship) -> tuple[str, str, str, str]:
    return each.many.name, each.many_column, each.one.name, each.one_column


def _matching(node: Mapping[str, Any], patterns: Sequence[str]) -> set[str]:
    if node["resource_type"] not in _KINDS:
        return set()
    return {pattern for pattern in patterns if fnmatchcase(node["name"], pattern)}


def meta_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``meta`` of a model or column; dbt has it at the top or below ``config``."""
    return {**(item.get("meta") or {}), **((item.get("config") or {}).get("meta") or {})}


def _policed(nodes: Mapping[str, Mapping[str, Any]], node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the models with row policies that a model is built on."""
    todo, seen, found = [node], {node["unique_id"]}, []
    while todo:
        for parent in (todo.pop().get("depends_on") or {}).get("nodes", ()):
            if parent in nodes and parent not in seen:
                seen.add(parent)
                todo.append(nodes[parent])
                if meta_of(nodes[parent]).get("api_policy") is not None:
                    found.append(str(nodes[parent]["name"]))
    return tuple(sorted(found))


def _mart(node: Mapping[str, Any], known: KnownColumns, policed: tuple[str, ...] = ()) -> ServedMart:
    where = f"{node['original_file_path']}: {node['name']}"
    meta = meta_of(node)
    _require_known(where, meta, _META)
    if (node.get("config") or {}).get("materialized") == "ephemeral":
        raise ConfigurationError(f"{where} is ephemeral: there is no table that could be served.")
    roles = _roles(f"{where}: meta.api_roles", meta.get("api_roles", USER))
    documented = _documented(node, where, known.names)
    columns, left_out = _columns(documented, where, roles, known.copies)
    unsaid = {
        column.name
        for column in columns
        if column.name in known.computed
        and not is_pii(documented[column.name])
        and not is_not_pii(documented[column.name])
    }
    return ServedMart(
        name=require_name(f"{where}: its name in the API", _name(node, meta, where)),
        table=require_name(f"{where}: its table", node["alias"]),
        model=node["unique_id"],
        comment=_comment(where, node),
        columns=columns,
        left_out=left_out,
        copies={name: known.copies[name] for name in left_out if name in known.copies},
        computed={name: known.computed[name] for name in sorted(unsaid)},
        roles=roles,
        policies=_policies(f"{where}: meta.api_policy", meta.get("api_policy"), roles),
        policed=policed if meta.get("api_policy") is None else (),
    )


def _require_known(where: str, meta: Mapping[str, Any], known: frozenset[str]) -> None:
    """Check that nothing is meant for the API by a name that it does not have: what it restricts would be served."""
    unknown = sorted(name for name in map(str, meta) if _is_ours(name) and name not in known)
    if unknown:
        raise ConfigurationError(f"{where}: meta has no {', '.join(unknown)}; there is {', '.join(sorted(known))}.")


def _is_ours(name: str) -> bool:
    return name.strip().lower().replace("-", "_").startswith("api_")


def _name(node: Mapping[str, Any], meta: Mapping[str, Any], where: str) -> str:
    given = meta.get("api_name")
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"{where}: meta.api_name is not text.")
    name = node["name"].removeprefix(PREFIX) if given is None else given
    version = node.get("version")
    # the latest version has the plain name, as ref() without a version means it
    return name if version is None or version == node.get("latest_version") else f"{name}_v{version}"


def _roles(where: str, given: Any) -> tuple[str, ...]:
    roles = [given] if isinstance(given, str) else given
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ConfigurationError(f"{where} is not a list of roles: write [{USER}].")
    return tuple(sorted({require_role(where, role) for role in roles}))


def _documented(node: Mapping[str, Any], where: str, known: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    """
    Return what the YAML says of each column that there is.

    :raises ConfigurationError: something is said of a column that there is not, which may have been meant for another.
    """
    said = dict(node.get("columns") or {})
    if known is None:
        return said
    unknown = [name for name in said if name not in known]
    if unknown:
        raise ConfigurationError(
            f"{where}: its YAML is about columns that its SQL does not have: {', '.join(unknown)}. Its SQL has "
            f"{', '.join(known)}."
        )
    return {name: said.get(name, {}) for name in known}


def _columns(
    documented: Mapping[str, Mapping[str, Any]], where: str, roles: tuple[str, ...], copies: Mapping[str, str]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    columns, left_out = [], []
    for name, column in documented.items():
        meta = meta_of(column)
        place = f"{where}.{name}"
        _require_known(place, meta, _COLUMN_META)
        readers = roles
        personal = is_pii(column) or (name in copies and not is_not_pii(column))
        chosen = personal or "api_roles" in meta
        if chosen:
            readers = _roles(f"{place}: meta.api_roles", meta.get("api_roles", []))
        strangers = sorted(set(readers) - set(roles))
        if strangers:
            raise ConfigurationError(
                f"{place}: meta.api_roles names {', '.join(strangers)}, who cannot read the model: its own "
                f"meta.api_roles has {', '.join(roles) or 'nobody'}."
            )
        if readers or not chosen:
            kind = str(column.get("data_type") or "")
            columns.append(Column(require_name(place, name), _comment(place, column), readers, kind))
        else:
            left_out.append(name)
    if left_out and not columns:
        raise ConfigurationError(f"{where}: all of its columns are pii, and meta.api_roles grants none of them.")
    return tuple(columns), tuple(sorted(left_out))


def _comment(where: str, item: Mapping[str, Any]) -> str:
    text = str(item.get("description") or "").strip()
    if "\0" in text:
        raise ConfigurationError(f"{where}: its description has U+0000, which PostgreSQL does not have.")
    return text


def _policies(where: str, given: Any, roles: tuple[str, ...]) -> dict[str, str]:
    if given is None:
        return {}
    policies = given if isinstance(given, Mapping) else dict.fromkeys(roles, given)
    different = sorted(set(map(str, policies)) ^ set(roles))
    if different:
        raise ConfigurationError(
            f"{where} has to say for each of {', '.join(roles) or 'no role'} which rows they see (true: all); "
            f"it differs in {', '.join(different)}."
        )
    return {role: require_expression(f"{where} ({role})", policies[role]) for role in roles}


def _require_different(marts: Sequence[ServedMart]) -> None:
    for one, other in pairwise(marts):
        if one.name == other.name:
            raise ConfigurationError(
                f"{one.model} and {other.model} would both be {one.name} in the API: give one of them another "
                "meta.api_name."
            )
    tables: dict[str, str] = {}
    for mart in marts:
        if tables.setdefault(mart.table, mart.model) != mart.model:
            raise ConfigurationError(
                f"{tables[mart.table]} and {mart.model} are published as the same table, {mart.table}: give one of "
                "them another alias."
            )


def _relationships(manifest: Mapping[str, Any]) -> Iterable[tuple[str, str, str, str, bool]]:
    """Yield (model, column, model, column, whether the last tells rows apart) of each test that connects models."""
    for test in manifest["nodes"].values():
        kind = test.get("test_metadata") or {}
        if test["resource_type"] != "test" or kind.get("name") != "relationships":
            continue
        many = test.get("attached_node")
        others = [name for name in test["depends_on"]["nodes"] if name != many]
        one = others[0] if others else many
        field_name = (kind.get("kwargs") or {}).get("field")
        if many and one and field_name and test.get("column_name"):
            column = bare_identifier(str(field_name))
            yield many, bare_identifier(test["column_name"]), one, column, _tells_apart(manifest, one, column)


def _tells_apart(manifest: Mapping[str, Any], unique_id: str, column: str) -> bool:
    """Return whether a model has at most one row for a value of a column, by its tests or its primary key."""
    node = manifest["nodes"].get(unique_id)
    if node is None:
        return False
    declared = declared_by(manifest, node)
    keys = (declared.key, declared.primary_key)
    return any(tuple(map(bare_identifier, key)) == (column,) for key in keys)


def _usable(related: Iterable[Relationship]) -> Iterable[Relationship]:
    """Yield those whose columns are in both views."""
    for each in related:
        has_many = any(column.name == each.many_column for column in each.many.columns)
        if has_many and any(column.name == each.one_column for column in each.one.columns):
            yield each
