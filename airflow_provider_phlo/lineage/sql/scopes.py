"""Which column a name in a query means: the tables in sight, the aliases of its own columns, the queries around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.relations import How, Relation, Value, combined

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True)
class Source:
    """
    One table or subquery of a FROM clause.

    :param name: its alias, else the name of its table; lower case.
    :param qualifiers: what may stand before the name of a table without an alias: schema, catalog.
    """

    name: str
    relation: Relation
    qualifiers: tuple[str, ...] = ()


@dataclass
class Scope:
    """
    What the expressions of one SELECT see.

    :param outer: what the query around it sees; a subquery may name its columns.
    :param aliases_visible: whether expressions may name other columns of the SELECT (DuckDB).
    """

    outer: Scope | None = None
    aliases_visible: bool = False
    sources: list[Source] = field(default_factory=list)
    # columns that USING makes one of two
    merged: dict[str, Value] = field(default_factory=dict)
    aliases: dict[str, Value] = field(default_factory=dict)
    windows: dict[str, exp.Expr] = field(default_factory=dict)

    def resolve(self, parts: Sequence[str]) -> Value:
        """
        Return the value of a column.

        :param parts: as written between dots: catalog, schema, table, column, fields; some of them.
        """
        found = self._here(parts)
        if isinstance(found, Value):
            return found
        around = self.outer.resolve(parts) if self.outer is not None else None
        if found:  # it may be a column of a table here
            if around is not None and around.unknown is None:
                return Value({}, f"{parts[0]} may be a column of a table whose columns are not known")
            return found[0] if len(found) == 1 else Value({}, f"{parts[0]} may be a column of several tables")
        if around is None or around.unknown is not None:
            row = self.source(parts[0]) if self.aliases_visible and len(parts) == 1 else None
            if row is not None:  # DuckDB: the whole row
                return row.relation.whole.at_least(How.COMPUTED)
        return around if around is not None else Value({}, f"no table that is read has a column {'.'.join(parts)}")

    def _here(self, parts: Sequence[str]) -> Value | list[Value]:
        """Return the value of a column of this SELECT; where that is not certain, what it may be."""
        qualified, possible = self._qualified(parts)
        if qualified is not None:
            return qualified
        name = parts[0].lower()
        plain, others = self._unqualified(name)
        if plain is not None:
            return plain
        alias = self.aliases.get(name) if self.aliases_visible else None
        if alias is not None:
            # an alias gives way to a column of the same name
            return Value({}, f"{name} may be a column of a table or an alias") if others else alias
        return possible or others

    def _qualified(self, parts: Sequence[str]) -> tuple[Value | None, list[Value]]:
        """Read ``parts`` as table and column; also return what it may be."""
        for source in self.sources:
            for depth in range(min(len(source.qualifiers), len(parts) - 2) + 1 if len(parts) > 1 else 0):
                names = (*source.qualifiers[len(source.qualifiers) - depth :], source.name)
                if tuple(part.lower() for part in parts[: depth + 1]) != names:
                    continue
                found = source.relation.find(parts[depth + 1])
                if found is not None:
                    return found, []
                possible = source.relation.may_have(parts[depth + 1])
                if possible:
                    return (possible[0] if len(possible) == 1 else None), possible
        return None, []

    def _unqualified(self, name: str) -> tuple[Value | None, list[Value]]:
        """Read ``name`` as a column of any table in sight; also return what it may be."""
        if name in self.merged:
            return self.merged[name], []
        found = [value for source in self.sources if (value := source.relation.find(name)) is not None]
        if found:
            return found[0] if len(found) == 1 else Value({}, f"{name} is a column of several tables"), []
        return None, [value for source in self.sources for value in source.relation.may_have(name)]

    def source(self, name: str) -> Source | None:
        """Return the table or subquery that is called so here."""
        return next((source for source in self.sources if source.name == name.lower()), None)

    def chain(self) -> Iterator[Source]:
        """Yield all sources in sight, those of the queries around this one too."""
        scope: Scope | None = self
        while scope is not None:
            yield from scope.sources
            scope = scope.outer

    def find_known(self, name: str) -> bool:
        """Return whether a table here is known to have a column ``name``."""
        return any(source.relation.find(name) is not None for source in self.sources)

    def merge(self, name: str, relation: Relation, side: str) -> Value:
        """
        Make one column of those that the tables so far and ``relation`` call ``name`` (USING).

        :param side: of the join: LEFT, RIGHT, FULL, or nothing.
        :return: what both are made of.
        """
        key = name.lower()
        left, possible = self._unqualified(key)
        right = relation.find(key)
        rights = [right] if right is not None else relation.may_have(key)
        lefts = [left] if left is not None else possible
        if len(lefts) != 1 or len(rights) != 1:
            self.merged[key] = Value({}, f"USING ({name}): not all columns of the tables are known")
            return self.merged[key]
        both = combined([*lefts, *rights])
        self.merged[key] = {"FULL": both.at_least(How.COMPUTED), "RIGHT": rights[0]}.get(side, lefts[0])
        return both

    def deciding(self, condition: Value) -> Value:
        """Return what a condition is made of: where that is not all known, also each column that it may name."""
        if condition.unknown is None:
            return condition
        return combined([condition, *(source.relation.whole for source in self.sources)])

    def with_aliases_first(self) -> Scope:
        """Return the scope of ORDER BY, where an alias comes before a column of the same name."""
        return Scope(
            self.outer,
            self.aliases_visible,
            self.sources,
            {**self.merged, **self.aliases},
            self.aliases,
            self.windows,
        )


def scope_of(relation: Relation, aliases: Mapping[str, Value] | None = None) -> Scope:
    """Return the scope of an expression over one relation."""
    return Scope(sources=[Source("", relation)], aliases=dict(aliases or {}))
