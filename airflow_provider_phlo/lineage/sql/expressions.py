"""What an SQL expression is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.relations import How, Relation, Value, combined, stronger
from airflow_provider_phlo.lineage.sql.scopes import Scope

if TYPE_CHECKING:
    from sqlglot import exp

# aggregates of DuckDB and Trino that are only names to sqlglot
_NAMES = """
approx_most_frequent approx_set arbitrary arg_max_null arg_max_nulls_last arg_min_null arg_min_nulls_last
bitstring_agg checksum combine_aggr convex_hull_agg count_star decimal_average entropy evaluate_classifier_predictions
every favg fsum geometric_mean geometry_union_agg histogram histogram_exact kahan_sum kurtosis_pop lttb mad map_agg
map_union mean multimap_agg numeric_histogram product qdigest_agg reduce_agg reservoir_quantile sem set_agg set_union
sum_no_overflow sumkahan tdigest_agg variant_group_object
"""
_AGGREGATES = frozenset(_NAMES.split())

#: Analyse a query inside an expression, which sees the scope around it.
Subqueries = Callable[["exp.Expr", Scope], Relation]


def value_of(expression: exp.Expr, scope: Scope, subqueries: Subqueries) -> Value:
    """
    Return what an expression is made of.

    :param subqueries: analyses the queries in it.
    """
    inner = expression.unalias()
    while type(inner).__name__ == "Paren":
        inner = inner.this
    named = _column_parts(inner)
    if named is not None:
        value = scope.resolve(named)
        # a field of a struct is not the column
        return value if _is_plain(inner, value, scope) else value.at_least(How.COMPUTED)
    return combined(_Walk(scope, subqueries).values(inner))


def _is_plain(inner: exp.Expr, value: Value, scope: Scope) -> bool:
    from sqlglot import exp

    if not isinstance(inner, exp.Column):
        return False
    qualifier = inner.text("table")
    return not qualifier or bool(value.unknown) or any(source.name == qualifier.lower() for source in scope.chain())


def _column_parts(node: exp.Expr) -> list[str] | None:
    """Return the names of ``a.b.c``: catalog, schema, table, column and fields; None if it is something else."""
    from sqlglot import exp

    fields: list[str] = []
    while isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        fields.append(node.expression.name)
        node = node.this
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        return [*(part.name for part in node.parts), *reversed(fields)]
    return None


class _Walk:
    """Goes through an expression, without recursion: it may be deep."""

    def __init__(self, scope: Scope, subqueries: Subqueries) -> None:
        self._scope = scope
        self._subqueries = subqueries

    def values(self, expression: exp.Expr) -> Iterator[Value]:
        """Yield what each part of an expression adds."""
        from sqlglot import exp

        todo: list[tuple[exp.Expr, How, frozenset[str]]] = [(expression, How.COMPUTED, frozenset())]
        while todo:
            node, how, bound = todo.pop()
            parts = _column_parts(node)
            if parts is not None:
                if parts[0].lower() not in bound:
                    yield self._scope.resolve(parts).at_least(how)
            elif isinstance(node, exp.Query):
                yield self._of_query(node, how)
            elif isinstance(node, exp.Column):  # count(t.*)
                yield self._of_star(node)
            elif isinstance(node, exp.Columns):
                yield Value({}, "COLUMNS(…) is not supported")
            elif isinstance(node, exp.PositionalColumn):
                yield Value({}, "#1, a column by its place, is not supported")
            else:
                if is_aggregate(node) or isinstance(node, exp.Window):
                    how = stronger(how, How.AGGREGATED)
                todo += _parts_of(node, how, bound, self._scope)

    def _of_query(self, query: exp.Expr, how: How) -> Value:
        relation = self._subqueries(query, self._scope)
        decided = Value(dict.fromkeys(relation.effects, How.COMPUTED))
        return combined([relation.whole.at_least(how), decided])

    def _of_star(self, node: exp.Expr) -> Value:
        source = self._scope.source(node.text("table"))
        return source.relation.whole.at_least(How.COMPUTED) if source else Value({}, "a star of an unknown table")


def _parts_of(
    node: exp.Expr, how: How, bound: frozenset[str], scope: Scope
) -> Iterator[tuple[exp.Expr, How, frozenset[str]]]:
    """Yield the parts of a node that are expressions, and the names that mean something else there."""
    from sqlglot import exp

    if isinstance(node, exp.Lambda):
        names = frozenset(name.name.lower() for name in node.expressions)
        yield node.this, how, bound | names
    elif isinstance(node, exp.Comprehension):
        name = frozenset([node.expression.name.lower()])
        inside = (node.this, node.args.get("condition"))
        yield from ((part, how, bound | name) for part in inside if part is not None)
        yield node.args["iterator"], how, bound
    elif isinstance(node, exp.PropertyEQ | exp.Kwarg):  # a name and its value
        yield node.expression, how, bound
        if isinstance(node.parent, exp.Struct) and isinstance(node.parent.parent, exp.ToMap):  # a key: a value, too
            yield node.this, how, bound
    elif isinstance(node, exp.DataType | exp.Star):
        return
    else:
        yield from ((part, how, bound) for part in node.iter_expressions())
        window = scope.windows.get(node.text("alias").lower()) if isinstance(node, exp.Window) else None
        if window is not None:
            yield from ((part, how, bound) for part in window.iter_expressions())


def is_aggregate(node: exp.Expr) -> bool:
    """Return whether a node is an aggregate, or decides which rows go into one."""
    from sqlglot import exp

    if isinstance(node, exp.Anonymous):
        return node.name.lower() in _AGGREGATES
    return isinstance(node, exp.AggFunc | exp.Filter | exp.WithinGroup)


def has_aggregate(expression: exp.Expr) -> bool:
    """Return whether there is an aggregate or a window in an expression, outside of its subqueries."""
    from sqlglot import exp

    inside = expression.walk(prune=lambda node: isinstance(node, exp.Query))
    return any(is_aggregate(node) or isinstance(node, exp.Window) for node in inside)


def value_of_all(expressions: Sequence[exp.Expr], scope: Scope, subqueries: Subqueries) -> Value:
    """Return what several expressions together are made of."""
    return combined(value_of(expression, scope, subqueries) for expression in expressions)
