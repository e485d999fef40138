"""What a query yields: the columns of each SELECT, of UNION and its like, and of WITH."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.expressions import has_aggregate, value_of, value_of_all
from airflow_provider_phlo.lineage.sql.from_clause import FromClause
from airflow_provider_phlo.lineage.sql.relations import (
    Column,
    Effect,
    Effects,
    How,
    Relation,
    Value,
    combined,
    effects_of,
    unknown_relation,
)
from airflow_provider_phlo.lineage.sql.scopes import Scope, scope_of
from airflow_provider_phlo.lineage.sql.stars import expand

if TYPE_CHECKING:
    from sqlglot import exp

#: Return what a table is, by the parts of its name as written: catalog, schema, table.
Tables = Callable[[Sequence[str]], Relation]

_ROUNDS = 100
_BY_POSITION = "UNION goes by position, and not all columns of both sides are known"


class Queries:
    """
    Analyses the queries of one statement.

    :param tables: what the tables are that it reads.
    :param elsewhere: names of WITH queries that ``tables`` knows.
    :param aliases_visible: whether expressions may name other columns of their SELECT, as in DuckDB.
    """

    def __init__(self, tables: Tables, elsewhere: Collection[str] = (), *, aliases_visible: bool) -> None:
        self._tables = tables
        self._elsewhere = elsewhere
        self._aliases_visible = aliases_visible

    def analyse(
        self, query: exp.Expr, outer: Scope | None = None, known: dict[str, Relation] | None = None
    ) -> Relation:
        """
        Return what a query yields.

        :param outer: what the query around it sees.
        :param known: the queries of WITH clauses around it, by name in lower case.
        """
        from sqlglot import exp

        known = self._with(query, outer, known or {})
        if isinstance(query, exp.Select):
            return self._select(query, outer, known)
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query, outer, known)
        if isinstance(query, exp.Subquery):
            inner = self.analyse(query.this, outer, known)
            return self._ordered(query, inner, outer, known)
        if isinstance(query, exp.Values):
            return self._values(query, outer, known)
        if isinstance(query, exp.Table):
            return self.analyse(exp.select("*").from_(query.copy()), outer, known)
        return unknown_relation(f"{type(query).__name__.upper()} is not supported")

    # --- WITH

    def _with(self, query: exp.Expr, outer: Scope | None, known: dict[str, Relation]) -> dict[str, Relation]:
        clause = query.args.get("with_")
        if clause is None:
            return known
        known = dict(known)
        for item in clause.expressions:
            name = item.alias.lower()
            if name in self._elsewhere:
                continue
            names = [column.name for column in item.args["alias"].args.get("columns") or ()]
            if clause.args.get("recursive") and _reads(item.this, name):
                known[name] = self._recursive(item.this, name, names, outer, known)
            else:
                known[name] = self.analyse(item.this, outer, known).renamed(names)
        return known

    def _recursive(
        self, query: exp.Expr, name: str, names: Sequence[str], outer: Scope | None, known: dict[str, Relation]
    ) -> Relation:
        """Go round until no column gains anything: what it reads of itself is what it was in the round before."""
        from sqlglot import exp

        if not isinstance(query, exp.SetOperation):
            return unknown_relation(f"{name} reads itself and is not a UNION")
        current = self.analyse(query.this, outer, known).renamed(names)
        for _ in range(_ROUNDS):
            following = self.analyse(query, outer, {**known, name: current}).renamed(names)
            if _same(current, following):
                return following
            current = following
        return unknown_relation(f"{name} reads itself in too many ways")

    # --- SELECT

    def _select(self, select: exp.Expr, outer: Scope | None, known: dict[str, Relation]) -> Relation:
        if select.args.get("match") is not None:
            return unknown_relation("MATCH_RECOGNIZE is not supported")
        scope = Scope(outer, self._aliases_visible)
        scope.windows = {window.name.lower(): window for window in select.args.get("windows") or ()}
        subqueries = partial(self._inside, known)
        effects: Effects = {}
        FromClause(scope, effects, subqueries, self._source_table(known)).add(select)
        columns, rests = expand(select, scope, subqueries)
        relation = Relation(columns, rests)
        for clause in ("where", "having", "qualify"):
            condition = select.args.get(clause)
            if condition is not None:
                value = scope.deciding(value_of(condition.this, scope, subqueries))
                effects |= dict(effects_of(value, Effect.FILTERED))
        for condition, effect in self._row_clauses(select, scope, relation, subqueries):
            for origin, each in effects_of(scope.deciding(condition), effect):
                effects.setdefault(origin, each)
        return self._ordered(select, Relation(columns, rests, effects), outer, known, scope)

    def _row_clauses(
        self, select: exp.Expr, scope: Scope, relation: Relation, subqueries: Callable[..., Relation]
    ) -> Iterator[tuple[Value, Effect]]:
        for unnested in _unnested(select):
            yield value_of_all(unnested, scope, subqueries), Effect.JOINED
        group, distinct = select.args.get("group"), select.args.get("distinct")
        if group is not None:
            yield _by_position(group, scope, relation, subqueries), Effect.GROUPED
            if group.args.get("all"):
                yield _grouped_by_all(select, scope, relation, subqueries), Effect.GROUPED
        if distinct is not None:
            on = distinct.args.get("on")
            yield (value_of(on, scope, subqueries) if on is not None else relation.whole), Effect.DEDUPLICATED

    def _ordered(
        self,
        query: exp.Expr,
        relation: Relation,
        outer: Scope | None,
        known: dict[str, Relation],
        scope: Scope | None = None,
    ) -> Relation:
        """Return the rows as ORDER BY leaves them: with LIMIT, it decides which stay."""
        order = query.args.get("order")
        if order is None:
            return relation
        around = scope.with_aliases_first() if scope is not None else scope_of(relation)
        value = around.deciding(_by_position(order, around, relation, partial(self._inside, known)))
        effects = dict(effects_of(value, Effect.SORTED)) | dict(relation.effects)
        return Relation(relation.columns, relation.rests, effects)

    def _inside(self, known: dict[str, Relation], query: exp.Expr, scope: Scope) -> Relation:
        return self.analyse(query, scope, known)

    def _source_table(self, known: dict[str, Relation]) -> Tables:
        def table(parts: Sequence[str]) -> Relation:
            found = known.get(parts[0].lower()) if len(parts) == 1 else None
            return self._tables(parts) if found is None else found

        return table

    # --- UNION and its like, VALUES

    def _set_operation(self, query: exp.Expr, outer: Scope | None, known: dict[str, Relation]) -> Relation:
        # a long chain is deep on its left side
        chain = [query]
        while _goes_on(chain[-1].this):
            chain.append(chain[-1].this)
        relation = self.analyse(chain[-1].this, outer, known)
        for operation in reversed(chain):
            relation = _united(operation, relation, self.analyse(operation.expression, outer, known))
        return self._ordered(query, relation, outer, known)

    def _values(self, values: exp.Expr, outer: Scope | None, known: dict[str, Relation]) -> Relation:
        rows = [list(row.expressions) if row.expressions else [row] for row in values.expressions]
        scope = outer or Scope()
        of_columns = [value_of_all(column, scope, partial(self._inside, known)) for column in zip(*rows, strict=False)]
        return Relation([Column(f"col{number}", value) for number, value in enumerate(of_columns)])


def _goes_on(query: exp.Expr) -> bool:
    from sqlglot import exp

    return isinstance(query, exp.SetOperation) and not query.args.get("with_") and not query.args.get("order")


def _united(operation: exp.Expr, left: Relation, right: Relation) -> Relation:
    """Return the rows of UNION, INTERSECT or EXCEPT."""
    from sqlglot import exp

    effects: Effects = {**right.effects, **left.effects}
    if not isinstance(operation, exp.Union):
        effects |= dict(effects_of(combined([left.whole, right.whole]), Effect.FILTERED))
        return Relation(left.columns, left.rests, effects)
    by_name = operation.args.get("by_name")
    columns = _united_by_name(left, right) if by_name else _united_by_position(left, right)
    if operation.args.get("distinct"):
        effects |= dict(effects_of(combined([left.whole, right.whole]), Effect.DEDUPLICATED))
    rests = (*left.rests, *right.rests)
    if rests and not by_name:
        rests = unknown_relation(_BY_POSITION).rests
    return Relation(columns, rests, effects)


def _united_by_position(left: Relation, right: Relation) -> list[Column]:
    if left.rests or right.rests or len(left.columns) != len(right.columns):
        return [Column(column.name, Value({}, _BY_POSITION)) for column in left.columns]
    pairs = zip(left.columns, right.columns, strict=True)
    return [Column(first.name, combined([first.value, second.value])) for first, second in pairs]


def _united_by_name(left: Relation, right: Relation) -> list[Column]:
    names = dict.fromkeys(
        (column.key, column.name) for column in (*left.columns, *right.columns) if column.name is not None
    )
    found: dict[str | None, Column] = {}
    for key, name in names:
        values = []
        for side in (left, right):
            value = side.find(str(name))
            values += [value] if value is not None else side.may_have(str(name))
        found.setdefault(key, Column(name, combined(values)))
    return list(found.values())


def _by_position(clause: exp.Expr, scope: Scope, relation: Relation, subqueries: Callable[..., Relation]) -> Value:
    """Return what GROUP BY or ORDER BY is made of; numbers are positions of columns."""
    from sqlglot import exp

    values = []
    for item in _grouping(clause):
        inner = item.this if isinstance(item, exp.Ordered) else item
        if isinstance(inner, exp.Literal) and inner.is_int:
            position = int(inner.this) - 1
            certain = not relation.rests and 0 <= position < len(relation.columns)
            values.append(relation.columns[position].value if certain else relation.whole)
        else:
            values.append(value_of(inner, scope, subqueries))
    return combined(values)


def _unnested(select: exp.Expr) -> Iterator[Sequence[exp.Expr]]:
    """Yield the arguments of each ``unnest`` among the columns: it makes as many rows as they say."""
    from sqlglot import exp

    for expression in select.expressions:
        for node in expression.walk(prune=lambda node: isinstance(node, exp.Query)):
            subscripts = isinstance(node, exp.Anonymous) and node.name.lower() == "generate_subscripts"
            if subscripts or isinstance(node, exp.UDTF | exp.Explode):
                yield list(node.iter_expressions())


def _grouped_by_all(select: exp.Expr, scope: Scope, relation: Relation, subqueries: Callable[..., Relation]) -> Value:
    """Return what GROUP BY ALL is made of: all that is selected and not aggregated."""
    if any(item.is_star for item in select.expressions):
        return relation.whole
    keys = [item for item in select.expressions if not has_aggregate(item)]
    return combined(value_of(item, scope, subqueries) for item in keys)


def _grouping(clause: exp.Expr) -> Iterator[exp.Expr]:
    yield from clause.expressions
    for kind in ("grouping_sets", "rollup", "cube"):
        for item in clause.args.get(kind) or ():
            yield from item.expressions


def _reads(query: exp.Expr, name: str) -> bool:
    from sqlglot import exp

    return any(table.name.lower() == name and not table.db for table in query.find_all(exp.Table))


def _same(first: Relation, second: Relation) -> bool:
    def origins(relation: Relation) -> list[tuple[str | None, dict[tuple[str, str], How], str | None]]:
        return [(column.name, dict(column.value.origins), column.value.unknown) for column in relation.columns]

    return origins(first) == origins(second) and dict(first.effects) == dict(second.effects)
