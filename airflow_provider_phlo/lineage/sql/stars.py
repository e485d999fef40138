"""The columns of a SELECT: what a star stands for, and what the others are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.expressions import value_of
from airflow_provider_phlo.lineage.sql.relations import Column, Relation, Rest, Value
from airflow_provider_phlo.lineage.sql.scopes import Scope, Source

if TYPE_CHECKING:
    from sqlglot import exp

Subqueries = Callable[["exp.Expr", Scope], Relation]


def expand(select: exp.Expr, scope: Scope, subqueries: Subqueries) -> tuple[list[Column], tuple[Rest, ...]]:
    """
    Return the columns of a SELECT, and where there are others that are not known by name.

    Each column is known to the expressions after it, if the scope shows them.
    """
    from sqlglot import exp

    columns: list[Column] = []
    rests: list[Rest] = []
    for expression in select.expressions:
        star = _star_of(expression)
        if star is None and expression.find(exp.Columns):
            rests.append(Rest(value=Value({}, "COLUMNS(…) is not supported")))
        elif star is None and _picks_by_pattern(expression):
            rests.append(Rest(value=Value({}, "a star with a pattern is not supported")))
        elif star is None:
            column = Column(_name(expression), value_of(expression, scope, subqueries))
            columns.append(column)
            if column.key is not None and _is_alias(expression):
                scope.aliases.setdefault(column.key, column.value)
        else:
            for item in _expand_star(star, expression.text("table"), scope, subqueries):
                (columns if isinstance(item, Column) else rests).append(item)  # type: ignore[arg-type]
    return columns, tuple(rests)


def _is_alias(expression: exp.Expr) -> bool:
    from sqlglot import exp

    return isinstance(expression, exp.Alias)


def _star_of(expression: exp.Expr) -> exp.Expr | None:
    from sqlglot import exp

    if isinstance(expression, exp.Star):
        return expression
    inner = expression.this if isinstance(expression, exp.Column) else None
    return inner if isinstance(inner, exp.Star) else None


def _picks_by_pattern(expression: exp.Expr) -> bool:
    """Return whether an expression is ``* LIKE 'a%'``, or the same with ``NOT``, ``ILIKE``, ``GLOB`` and the like."""
    from sqlglot import exp

    inner = expression
    while isinstance(inner, exp.Predicate | exp.Escape | exp.Not):
        inner = inner.this
    return inner is not expression and _star_of(inner) is not None


def _name(expression: exp.Expr) -> str | None:
    """Return the name of a column; None where the engine makes one of the expression's text."""
    from sqlglot import exp

    if isinstance(expression, exp.Alias):
        return str(expression.alias)
    if isinstance(expression, exp.Column):
        return str(expression.name)
    if isinstance(expression, exp.Dot) and isinstance(expression.expression, exp.Identifier):
        return str(expression.expression.name)
    return None


def _expand_star(star: exp.Expr, table: str, scope: Scope, subqueries: Subqueries) -> Iterator[Column | Rest]:
    removed = {each.name.lower() for each in star.args.get("except_") or ()}
    replaced = {each.alias.lower(): each for each in star.args.get("replace") or ()}
    renamed = {each.this.name.lower(): str(each.alias) for each in star.args.get("rename") or ()}
    for item in _columns_of_star(table, scope):
        if isinstance(item, Rest):
            yield item.without({*removed, *replaced, *renamed})
            for name in () if item.table is None else {**replaced, **renamed}:
                # it is said to be there
                value = item.find(name)
                if value is not None and not scope.find_known(name):
                    yield _one(name, str(name), value, replaced, renamed, scope, subqueries)
        elif item.key not in removed:
            yield _one(item.key or "", item.name, item.value, replaced, renamed, scope, subqueries)


def _one(
    key: str,
    name: str | None,
    value: Value,
    replaced: dict[str, exp.Expr],
    renamed: dict[str, str],
    scope: Scope,
    subqueries: Subqueries,
) -> Column:
    if key in replaced:
        value = value_of(replaced[key], scope, subqueries)
    return Column(renamed.get(key, name), value)


def _columns_of_star(table: str, scope: Scope) -> Iterator[Column | Rest]:
    if table:
        source = scope.source(table)
        if source is None:
            value = scope.resolve([table])
            yield Rest(value=Value({}, value.unknown or f"the fields of {table} are not known"))
            return
        yield from _columns_of(source)
        return
    shown: set[str] = set()
    for source in scope.sources:
        for item in _columns_of(source):
            if isinstance(item, Rest):
                yield item.without(scope.merged)
            elif item.key not in scope.merged:
                yield item
            elif item.key not in shown:
                shown.add(item.key)
                yield Column(item.name, scope.merged[item.key])
    for key in scope.merged.keys() - shown:  # in tables whose columns are not known
        yield Column(key, scope.merged[key])


def _columns_of(source: Source) -> Iterator[Column | Rest]:
    yield from source.relation.columns
    yield from source.relation.rests
