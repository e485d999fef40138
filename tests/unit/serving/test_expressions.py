"""Row policies: what is one expression, and what only looks like it."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.expressions import require_expression
from tests.sizes import size

pytestmark = pytest.mark.xdist_group("served")

GOOD = [
    "a = 1",
    "current_setting('request.jwt.claims', true)::json ->> 'sub' = b",
    "EXISTS (SELECT FROM pg_roles WHERE rolname = b)",
    "a = ANY (ARRAY[1, 2])",
    "a = ANY (string_to_array(current_setting('x', true), ',')::int[])",
    r"b ~ '^a\'",
    r"E'it\'s' = b",
    "$$a;b$$ = b",
    "$q$)$q$ = b",
    "now() AT TIME ZONE 'UTC' > now() - interval '1 day'",
    "b IS DISTINCT FROM 'x' AND NOT (a > 1 OR b LIKE 'a%')",
    "a BETWEEN 1 AND 2",
    "CASE WHEN a = 1 THEN true ELSE false END",
    "b = '日本'",
    "\n  a = 1\n",
]
BAD = [
    "",
    "a = 1; DROP TABLE t",
    "true); DROP TABLE t; --",
    "true) WITH CHECK (true",
    "a = 1 -- x",
    "a = 1 /* x */",
    "a = 1 /* x",
    "b = 'x",
    'b = "x',
    "$$x",
    "(a = 1",
    "a = 1)",
    "a[1",
    r"\! rm x",
    "b = :'HOME'",
    "b = :x",
    "a = 1, b = 2",
    "a AS b",
    "SELECT 1",
    "DELETE FROM t",
    "a = 1 ORDER BY b",
    "a = = 1",
    "a = $1",
    "a =",
    "b = 'x\0'",
]


@pytest.mark.parametrize("text", GOOD)
def test_postgres_takes_what_is_taken(connection: psycopg.Connection, text: str) -> None:
    condition = require_expression("a policy", text)
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TEMP TABLE t (a int, b text)")
        connection.execute(f"CREATE POLICY p ON t FOR SELECT USING (\n{condition}\n)")


@pytest.mark.parametrize("text", BAD)
def test_what_is_more_or_less_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="a policy"):
        require_expression("a policy", text)


def test_yaml_has_other_values() -> None:
    assert require_expression("a policy", True) == "true"
    assert require_expression("a policy", False) == "false"
    for value in (1, None, ["a"], {"a": 1}):
        with pytest.raises(ConfigurationError, match="a policy is not an SQL expression"):
            require_expression("a policy", value)


PARTS = st.sampled_from(
    [
        "a",
        "b",
        " ",
        "1",
        "=",
        "(",
        ")",
        "[",
        "]",
        "'",
        "''",
        '"',
        "$$",
        "$t$",
        ";",
        "--",
        "/*",
        "*/",
        "\\",
        "E'",
        ":",
        "::",
        "\n",
    ]
)


@settings(max_examples=size(300, 5000), deadline=None, database=None)
@given(st.lists(PARTS, max_size=12).map("".join))
def test_nothing_leads_out_of_the_parentheses(text: str) -> None:
    """A second parser sees one statement, whatever was taken."""
    from sqlglot import parse

    try:
        condition = require_expression("a policy", text)
    except ConfigurationError:
        return
    assert len(parse(f"SELECT 1 WHERE (\n{condition}\n)", read="postgres")) == 1
