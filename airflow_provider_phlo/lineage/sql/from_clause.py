"""The tables of a FROM clause, and how they are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.expressions import Subqueries, value_of, value_of_all
from airflow_provider_phlo.lineage.sql.relations import (
    Column,
    Effect,
    Effects,
    How,
    Relation,
    Rest,
    effects_of,
    unknown_relation,
)
from airflow_provider_phlo.lineage.sql.scopes import Scope, Source

if TYPE_CHECKING:
    from sqlglot import exp

# functions in FROM that make rows of their arguments and read nothing else
_GENERATORS = frozenset({"range", "generate_series", "unnest", "sequence", "explode", "repeat_row"})


class FromClause:
    """
    Fills the scope of a SELECT with what it reads.

    :param effects: gets what decides about rows: conditions of joins, and what decides inside of what is read.
    :param tables: what a table is, by the parts of its name.
    """

    def __init__(
        self, scope: Scope, effects: Effects, subqueries: Subqueries, tables: Callable[[Sequence[str]], Relation]
    ) -> None:
        self._scope = scope
        self._effects = effects
        self._subqueries = subqueries
        self._tables = tables

    def add(self, select: exp.Expr) -> None:
        """Add what a SELECT reads."""
        clause = select.args.get("from_")
        if clause is not None:
            self._add_joined(clause.this)
        for join in select.args.get("joins") or ():
            self._join(join)
        for lateral in select.args.get("laterals") or ():
            self._add_source(self._source(lateral))

    def _add_joined(self, item: exp.Expr) -> None:
        """Add a table with the joins that are written in its parentheses."""
        from sqlglot import exp

        if isinstance(item, exp.Subquery) and isinstance(item.this, exp.Table) and not item.alias:
            self._add_joined(item.this)
        else:
            self._add_source(self._source(item))
        for join in item.args.get("joins") or ():
            self._join(join)

    def _add_source(self, source: Source) -> None:
        self._scope.sources.append(source)
        for origin, effect in source.relation.effects.items():
            self._effects.setdefault(origin, effect)

    def _join(self, join: exp.Expr) -> None:
        from sqlglot import exp

        item = join.this
        nested = isinstance(item, exp.Subquery) and isinstance(item.this, exp.Table) and not item.alias
        if nested or item.args.get("joins"):
            self._add_joined(item)
            self._conditions(join)
            return
        source = self._source(item)
        using = [column.name for column in join.args.get("using") or ()]
        if join.text("method").upper() == "NATURAL":
            if source.relation.rests or any(each.relation.rests for each in self._scope.sources):
                source = Source(source.name, unknown_relation("NATURAL JOIN of tables whose columns are not all known"))
            using = self._shared_names(source.relation)
        kinds = {join.text("kind").upper(), join.text("side").upper()}
        for name in using:
            both = self._scope.merge(name, source.relation, join.text("side").upper())
            self._effects |= dict(effects_of(self._scope.deciding(both), Effect.JOINED))
        self._add_source(source)
        self._conditions(join)
        if kinds & {"SEMI", "ANTI"}:
            self._scope.sources.remove(source)

    def _conditions(self, join: exp.Expr) -> None:
        condition = join.args.get("on")
        if condition is not None:
            value = self._scope.deciding(value_of(condition, self._scope, self._subqueries))
            self._effects |= dict(effects_of(value, Effect.JOINED))

    def _shared_names(self, relation: Relation) -> list[str]:
        """Return the columns that NATURAL JOIN compares."""
        seen = {column.key for source in self._scope.sources for column in source.relation.columns}
        return [str(column.name) for column in relation.columns if column.key in seen]

    # --- one table, subquery or function

    def _source(self, item: exp.Expr) -> Source:
        from sqlglot import exp

        alias = item.args.get("alias")
        names = [column.name for column in (alias.args.get("columns") if alias is not None else None) or ()]
        name = str(item.alias or "")
        if item.args.get("pivots"):
            return Source(name.lower() or "pivot", unknown_relation("PIVOT is not supported"))
        if isinstance(item, exp.Table) and isinstance(item.this, exp.Identifier):
            parts = [part.name for part in item.parts]
            qualifiers = () if name else tuple(part.lower() for part in parts[:-1])
            return Source((name or parts[-1]).lower(), self._tables(parts).renamed(names), qualifiers)
        return Source(name.lower(), self._rows_of(item, names))

    def _rows_of(self, item: exp.Expr, names: list[str]) -> Relation:
        from sqlglot import exp

        if isinstance(item, exp.Query):
            # a subquery in FROM sees what is around the SELECT; in DuckDB, also what is before it
            beside = self._scope if self._scope.aliases_visible else self._scope.outer or Scope()
            return self._subqueries(item, beside).renamed(names)
        if isinstance(item, exp.Values):
            return self._subqueries(item, self._scope).renamed(names)
        if isinstance(item, exp.Lateral) and isinstance(item.this, exp.Query):
            return self._subqueries(item.this, self._scope).renamed(names)
        function = item.this if isinstance(item, exp.Table | exp.Lateral) else item
        if _name_of(function) not in _GENERATORS:
            return unknown_relation(f"{_name_of(function)}(…) reads something that is not a table")
        arguments = item.expressions if isinstance(item, exp.Unnest) else list(function.iter_expressions())
        value = value_of_all(arguments, self._scope, self._subqueries).at_least(How.COMPUTED)
        for origin, effect in effects_of(value, Effect.JOINED):  # it makes as many rows as they say
            self._effects.setdefault(origin, effect)
        ordinality = item.args.get("offset")
        if isinstance(ordinality, exp.Identifier):
            names = [*names, ordinality.name]
        if names:
            return Relation([Column(each, value) for each in names])
        return Relation((), (Rest(value=value),))


def _name_of(function: exp.Expr) -> str:
    name = function.name if type(function).__name__ == "Anonymous" else function.key
    return {"generateseries": "generate_series"}.get(name.lower(), name.lower())
