"""The columns of a SELECT: what a star stands for, and what the others are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
            may_be_fields = scope.aliases_visible and _may_be_fields(expression)
            if may_be_fields:
                rests.append(Rest(value=column.value))
            if column.name is not None or not may_be_fields:
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


def _may_be_fields(expression: exp.Expr) -> bool:
    """Return whether it may be DuckDB's ``unnest(struct)``: a column for each field, whatever its alias."""
    from sqlglot import exp

    inner = expression.unalias()
    while isinstance(inner, exp.Paren):
        inner = inner.this
    is_list = isinstance(inner.this, exp.Array | exp.ArrayAgg | exp.GenerateSeries) and not inner.expressions
    return isinstance(inner, exp.Explode) and not is_list


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
    taken_out = [(each.text("table").lower(), each.name.lower()) for each in star.args.get("except_") or ()]
    replaced = {each.alias.lower(): each for each in star.args.get("replace") or ()}
    renames = [
        (each.this.text("table").lower(), each.this.name.lower(), str(each.alias))
        for each in star.args.get("rename") or ()
    ]
    done: set[str | None] = set()
    for source, item in _columns_of_star(table, scope, taken_out):
        # (t.id) is that of t only
        removed = {name for of, name in taken_out if of in ("", source)}
        renamed = {name: alias for of, name, alias in renames if of in ("", source)}
        if isinstance(item, Rest):
            yield item.without({*removed, *replaced, *renamed})
            for name in () if item.table is None else {**replaced, **renamed}:
                # it is said to be there
                value = item.find(name)
                if value is not None and not scope.find_known(name):
                    yield _one(name, str(name), value, replaced, renamed, scope, subqueries)
        elif item.key not in removed and item.key not in done:
            done |= {item.key} & replaced.keys()  # others of that name go
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


def _columns_of_star(
    table: str, scope: Scope, taken_out: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Column | Rest]]:
    """Yield each column, and the table or subquery that it is of; that is nothing for one that USING makes of two."""
    if table:
        source = scope.source(table)
        if source is None:
            value = scope.resolve([table])
            yield table.lower(), Rest(value=Value({}, value.unknown or f"the fields of {table} are not known"))
            return
        yield from _columns_of(source)
        return
    known: set[str] = set()
    shown: set[str] = set()
    for source in scope.sources:
        for name, item in _columns_of(source):
            if isinstance(item, Rest):
                yield name, item.without(scope.merged)
            elif item.key not in scope.merged:
                yield name, item
            elif item.key not in shown:
                known.add(item.key)
                if (name, item.key) not in taken_out:  # else, it is where the next table has it
                    shown.add(item.key)
                    yield "", Column(item.name, scope.merged[item.key])
    for key in scope.merged.keys() - known:  # in tables whose columns are not known
        yield "", Column(key, scope.merged[key])


def _columns_of(source: Source) -> Iterator[tuple[str, Column | Rest]]:
    for each in (*source.relation.columns, *source.relation.rests):
        yield source.name, each  # type: ignore[misc]
