"""What an SQL expression is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.relations import How, Relation, Value, combined, stronger
from airflow_provider_phlo.lineage.sql.scopes import Scope

if TYPE_CHECKING:
    from sqlglot import exp

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
            else:
                if isinstance(node, exp.AggFunc | exp.Window):
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


def value_of_all(expressions: Sequence[exp.Expr], scope: Scope, subqueries: Subqueries) -> Value:
    """Return what several expressions together are made of."""
    return combined(value_of(expression, scope, subqueries) for expression in expressions)
