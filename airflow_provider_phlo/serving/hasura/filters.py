"""
Row policies as Hasura's boolean expressions, where they can be said so.

What can: ``AND``, ``OR``, ``NOT``, comparisons of a column with a literal or with a claim of the token, ``IN``,
``IS NULL``, ``true``, ``false``.

A claim ``current_setting('request.jwt.claims', true)::json ->> 'sub'`` is the session variable
``X-Hasura-Sub``.

A row for which SQL says NULL is not seen. Hasura says ``true`` of some of them (of ``_ne``, for one, where the column
is NULL), so ``NOT`` is moved to the comparisons, and those are joined with ``_is_null: false`` where it matters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

Filter = Mapping[str, Any]
_CLAIM = re.compile(r"[A-Za-z0-9_-]+")
_SETTINGS = ("request.jwt.claims",)
_OLD_SETTING = "request.jwt.claim."
_PREFIX = "x-hasura-"
_TURNED = {"gt": "lt", "gte": "lte", "lt": "gt", "lte": "gte"}
_NEGATED = {"eq": "ne", "ne": "eq", "gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}


class NotTransferableError(ValueError):
    """A condition has no form in Hasura; the text says which part of it."""


def hasura_filter(condition: str) -> Filter:
    """
    Return a condition as Hasura has it.

    :param condition: an SQL expression that was checked.
    :raises NotTransferableError: it has another meaning there, or none.
    """
    import sqlglot

    return _filter(sqlglot.parse_one(condition, read="postgres"))


def session_variable(claim: str) -> str:
    """Return the session variable for a claim."""
    name = claim.replace("_", "-").lower()
    return "-".join(part.capitalize() for part in f"{_PREFIX}{name.removeprefix(_PREFIX)}".split("-"))


def _filter(tree: exp.Expr, *, negated: bool = False) -> Filter:
    from sqlglot import exp

    if isinstance(tree, exp.Paren):
        return _filter(tree.this, negated=negated)
    if isinstance(tree, exp.And | exp.Or):
        word = "_and" if isinstance(tree, exp.And) != negated else "_or"
        return {word: [_filter(part, negated=negated) for part in (tree.this, tree.expression)]}
    if isinstance(tree, exp.Not):
        return _filter(tree.this, negated=not negated)
    if isinstance(tree, exp.Boolean):
        return {} if bool(tree.this) != negated else {"_not": {}}
    if isinstance(tree, exp.Is) and isinstance(tree.expression, exp.Null):
        _require_plain(tree, "this", "expression", "negate")
        return {_column(tree.this): {"_is_null": bool(tree.args.get("negate")) == negated}}
    if isinstance(tree, exp.In) and tree.expressions:
        _require_plain(tree, "this", "expressions")
        values = [_value(each) for each in tree.expressions]
        return _with_value(_column(tree.this), {"_nin" if negated else "_in": values})
    return _comparison(tree, negated=negated)


def _comparison(tree: exp.Expr, *, negated: bool) -> Filter:
    from sqlglot import exp

    words: dict[type[exp.Expr], str] = {
        exp.EQ: "eq",
        exp.NEQ: "ne",
        exp.GT: "gt",
        exp.GTE: "gte",
        exp.LT: "lt",
        exp.LTE: "lte",
    }
    word = words.get(type(tree))
    if word is None:
        raise NotTransferableError(_words(tree))
    _require_plain(tree, "this", "expression")
    left, right = tree.this, tree.expression
    if not _is_column(left):
        left, right, word = right, left, _TURNED.get(word, word)
    word = _NEGATED[word] if negated else word
    if not _is_column(left):
        raise NotTransferableError(_words(tree))
    if _is_column(right):
        return {"_and": [_with_value(_column(left), {f"_c{word}": _column(right)}), _is_there(_column(right))]}
    return _with_value(_column(left), {f"_{word}": _value(right)})


def _with_value(column: str, comparison: Filter) -> Filter:
    """Return a comparison that is not met where the column is NULL."""
    if next(iter(comparison)) in ("_eq", "_gt", "_gte", "_lt", "_lte", "_in"):
        return {column: comparison}
    return {"_and": [{column: comparison}, _is_there(column)]}


def _is_there(column: str) -> Filter:
    return {column: {"_is_null": False}}


def _require_plain(tree: exp.Expr, *known: str) -> None:
    """Check that a part of a condition says nothing that is not read here."""
    if any(value for name, value in tree.args.items() if name not in known):
        raise NotTransferableError(_words(tree))


def _is_column(tree: exp.Expr) -> bool:
    from sqlglot import exp

    return isinstance(tree, exp.Column) and not tree.table


def _column(tree: exp.Expr) -> str:
    if not _is_column(tree):
        raise NotTransferableError(_words(tree))
    # PostgreSQL folds what is not quoted
    return tree.name if tree.this.quoted else tree.name.lower()


def _value(tree: exp.Expr) -> Any:
    from sqlglot import exp

    if isinstance(tree, exp.Paren):
        return _value(tree.this)
    if isinstance(tree, exp.Cast):
        return _cast(tree)
    if isinstance(tree, exp.Literal):
        # Hasura takes a text of that form for a session variable
        if tree.is_string and tree.this.lower().startswith(_PREFIX):
            raise NotTransferableError(_words(tree))
        return tree.this if tree.is_string else _number(tree.this)
    if isinstance(tree, exp.Neg) and isinstance(tree.this, exp.Literal) and not tree.this.is_string:
        return -_number(tree.this.this)
    if isinstance(tree, exp.Boolean):
        return bool(tree.this)
    return session_variable(_claim(tree))


def _cast(tree: exp.Cast) -> Any:
    """Return what is cast, where Hasura, which reads every value as its column's type, compares the same."""
    from sqlglot import exp

    kept = _value(tree.this)
    kinds = exp.DataType.Type
    changes_nothing = isinstance(kept, str) and not tree.to.expressions  # varchar(2) cuts
    is_claim = changes_nothing and kept.lower().startswith(_PREFIX)
    allowed = {kinds.TEXT, kinds.VARCHAR} | ({kinds.UUID, kinds.INT, kinds.BIGINT} if is_claim else set())
    if not changes_nothing or tree.to.this not in allowed:
        raise NotTransferableError(_words(tree))
    return kept


def _number(text: str) -> int | float:
    number = int(text) if text.isdecimal() else float(text)
    if not math.isfinite(number):  # JSON has no such number
        raise NotTransferableError(text)
    return number


def _claim(tree: exp.Expr) -> str:
    """Return the claim that an expression reads of the token."""
    from sqlglot import exp

    if isinstance(tree, exp.JSONExtractScalar):
        source = tree.this
        while isinstance(source, exp.Paren | exp.Cast):
            source = source.this
        path = tree.expression
        name = path.name if isinstance(path, exp.Literal) else _last_key(path)
        if _setting(source) in _SETTINGS and name and _CLAIM.fullmatch(name):
            return name
    setting = _setting(tree)
    if setting and setting.startswith(_OLD_SETTING) and _CLAIM.fullmatch(setting.removeprefix(_OLD_SETTING)):
        return setting.removeprefix(_OLD_SETTING)
    raise NotTransferableError(_words(tree))


def _last_key(path: exp.Expr) -> str | None:
    from sqlglot import exp

    keys = [each for each in path.expressions if isinstance(each, exp.JSONPathKey)]
    return str(keys[0].this) if len(keys) == 1 else None


def _setting(tree: exp.Expr) -> str | None:
    """Return the setting that ``current_setting`` reads."""
    from sqlglot import exp

    if not isinstance(tree, exp.Func) or tree.sql_name().lower() not in ("current_setting", "anonymous"):
        return None
    if isinstance(tree, exp.Anonymous):
        called, arguments = str(tree.this).lower(), tree.expressions
    else:
        called, arguments = tree.sql_name().lower(), [tree.this]
    first = arguments[0] if arguments else None
    return first.this if called == "current_setting" and isinstance(first, exp.Literal) else None


def _words(tree: exp.Expr) -> str:
    return tree.sql(dialect="postgres")[:200]
