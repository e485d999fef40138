"""Row policies in Hasura's form: what they show is what PostgreSQL shows, NULLs too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.serving.expressions import require_expression
from airflow_provider_phlo.serving.hasura.filters import NotTransferableError, hasura_filter, session_variable
from airflow_provider_phlo.sql import literal, quote_identifier
from tests.sizes import size

pytestmark = pytest.mark.xdist_group("served")

CLAIMS = {"sub": "b", "customer_id": "2"}
_SUB = "current_setting('request.jwt.claims', true)::json ->> 'sub'"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("true", {}),
        ("false", {"_not": {}}),
        (f"t = {_SUB}", {"t": {"_eq": "X-Hasura-Sub"}}),
        (f"({_SUB}) = t", {"t": {"_eq": "X-Hasura-Sub"}}),
        (
            "n = (current_setting('request.jwt.claims', true)::jsonb ->> 'customer_id')::bigint",
            {"n": {"_eq": "X-Hasura-Customer-Id"}},
        ),
        ("current_setting('request.jwt.claim.sub', true) = t", {"t": {"_eq": "X-Hasura-Sub"}}),
        ("t IS NOT NULL", {"t": {"_is_null": False}}),
        ("NOT t IS NULL", {"t": {"_is_null": False}}),
        ("n IN (1, -2)", {"n": {"_in": [1, -2]}}),
        ("3 < n", {"n": {"_gt": 3}}),
        ("N = 1.5", {"n": {"_eq": 1.5}}),
        ('"N" = 1', {"N": {"_eq": 1}}),
    ],
)
def test_what_can_be_said(condition: str, expected: Any) -> None:
    assert hasura_filter(condition) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "lower(t) = 'x'", "t LIKE 'x%'", "n BETWEEN 1 AND 2", "n = ANY (ARRAY[1])", "EXISTS (SELECT 1)", "n",
        "t.n = 1", "n::text = 'x'", "n = 1.6::int", "t = 'ab'::varchar(1)", "n = 1e400", "t > '2024-01-15 13:00'::date",
        "t = (current_setting('request.jwt.claims', true)::json ->> 'sub')::varchar(2)", "n = NULL",
        "t IS DISTINCT FROM 'x'", "t = current_user", "t = 'X-Hasura-Role'",
        "t IN ('a', 'x-hasura-sub')", "n + 1 = 2", "n IS TRUE", "n IN (SELECT 1)", "t = current_setting('x')",
        "current_setting('request.jwt.claims', true)::json -> 'app' ->> 'org' = t", "CASE WHEN n = 1 THEN true END",
        f"t = ({_SUB}) COLLATE \"C\"",
    ],
)  # fmt: skip
def test_what_cannot(condition: str) -> None:
    with pytest.raises(NotTransferableError):
        hasura_filter(require_expression("a policy", condition))


def as_hasura_says(found: Mapping[str, Any]) -> str:
    """Return the SQL that Hasura makes of a permission; it compares values that may be NULL."""
    parts = []
    for name, value in found.items():
        if name in ("_and", "_or"):
            parts.append("(" + f" {name[1:].upper()} ".join(map(as_hasura_says, value)) + ")")
        elif name == "_not":
            parts.append(f"NOT ({as_hasura_says(value)})")
        else:
            ((word, operand),) = value.items()
            parts.append(_comparison(quote_identifier(name), word, operand))
    return " AND ".join(f"({part})" for part in parts) or "true"


def _comparison(column: str, word: str, operand: Any) -> str:
    if word == "_is_null":
        return f"{column} IS {'' if operand else 'NOT '}NULL"
    if word in ("_in", "_nin"):
        return f"{column} {'NOT ' * (word == '_nin')}IN ({', '.join(map(_value, operand))})"
    other = quote_identifier(operand) if word.startswith("_c") else _value(operand)
    sign = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[word.removeprefix("_c").lstrip("_")]
    if sign == "=":
        return f"({column} = {other}) OR ({column} IS NULL AND {other} IS NULL)"
    if sign == "<>":
        missing = f"({column} IS NULL AND {other} IS NOT NULL) OR ({column} IS NOT NULL AND {other} IS NULL)"
        return f"({column} <> {other}) OR {missing}"
    return f"{column} {sign} {other}"


def _value(value: Any) -> str:
    if isinstance(value, str) and value.lower().startswith("x-hasura-"):
        value = {session_variable(claim): each for claim, each in CLAIMS.items()}[value]
    return literal(value) if isinstance(value, str) else str(value)


_COMPARISON = st.one_of(
    st.tuples(
        st.sampled_from(["n", "m"]), st.sampled_from(["=", "<>", "<", ">=", ">"]), st.sampled_from(["1", "2", "m"])
    ),
    st.tuples(st.just("t"), st.sampled_from(["=", "<>", "<"]), st.sampled_from(["'b'", "'c'", _SUB])),
    st.tuples(st.sampled_from(["n", "t"]), st.sampled_from(["IS NULL", "IS NOT NULL"]), st.just("")),
    st.tuples(st.just("n"), st.just("IN"), st.sampled_from(["(1)", "(2, 3)"])),
    st.tuples(st.just("n"), st.just("NOT IN"), st.sampled_from(["(1)", "(2, 3)"])),
    st.tuples(st.just("2"), st.sampled_from(["<", ">=", "<>"]), st.just("n")),
    st.tuples(st.sampled_from(["true", "false"]), st.just(""), st.just("")),
).map(" ".join)
_CONDITION = st.recursive(
    _COMPARISON,
    lambda inner: st.one_of(
        inner.map(lambda each: f"NOT ({each})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda each: f"({each[0]}) {each[1]} ({each[2]})"),
    ),
    max_leaves=5,
)


@pytest.mark.long
def test_both_show_the_same_rows(connection: psycopg.Connection) -> None:
    connection.execute("CREATE TEMP TABLE rows (n int, m int, t text)")
    connection.execute(
        "INSERT INTO rows SELECT n, m, t FROM unnest(ARRAY[1, 2, 3, NULL]) n, unnest(ARRAY[1, 2, NULL]) m, "
        "unnest(ARRAY['b', 'c', NULL]) t"
    )
    connection.execute("SELECT set_config('request.jwt.claims', %s, false)", [json.dumps(CLAIMS)])

    def rows(condition: str) -> list[Any]:
        return connection.execute(f"SELECT * FROM rows WHERE {condition} ORDER BY 1, 2, 3").fetchall()

    @settings(max_examples=size(150, 5000), deadline=None, database=None)
    @given(_CONDITION)
    def same(condition: str) -> None:
        assert rows(as_hasura_says(hasura_filter(require_expression("a policy", condition)))) == rows(condition)

    same()
