"""
Whether a text is one SQL expression of PostgreSQL, and nothing more.

It goes into a file that people give to psql, between two parentheses. So nothing may lead out of them, whatever a
parser thinks of it: that is judged by the tokens. Whether it is an expression, a parser says here, and PostgreSQL
itself, with the table's columns, when it is applied.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError

_TOKENS = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\* )
    | (?P<text> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")+" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [^\W\d][\w$]* | \d[\w.]* )
    | (?P<open> [(\[] )
    | (?P<close> [)\]] )
    | (?P<wrong> ['"\\;$] | (?<!:):(?=[\w'"{]) )  # the last is a variable of psql
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {")": "(", "]": "["}


def require_expression(where: str, given: Any) -> str:
    """
    Return an expression without the white space around it.

    :param where: what is judged, for the message.
    :raises ConfigurationError: it is not one expression.
    """
    if isinstance(given, bool):
        return str(given).lower()
    if not isinstance(given, str) or not given.strip():
        raise ConfigurationError(f"{where} is not an SQL expression.")
    text = given.strip()
    if "\0" in text:
        raise ConfigurationError(f"{where} has U+0000, which PostgreSQL does not have.")
    _require_closed(where, text)
    _require_parses(where, text)
    return text


def _require_closed(where: str, text: str) -> None:
    """Check that parentheses and quotes are closed, and that nothing ends a statement."""
    opened: list[str] = []
    for token in _TOKENS.finditer(text):
        kind, found = token.lastgroup, token.group()
        if kind == "comment":
            raise ConfigurationError(f"{where} has a comment: leave it out.")
        if kind == "wrong":
            raise ConfigurationError(f"{where} is more than an expression, or not all of one: {found} at {_at(token)}.")
        if kind == "open":
            opened.append(found)
        elif kind == "close" and (not opened or opened.pop() != _PAIRS[found]):
            raise ConfigurationError(f"{where}: {found} at {_at(token)} closes nothing.")
    if opened:
        raise ConfigurationError(f"{where}: {opened[-1]} is not closed.")


def _at(token: re.Match[str]) -> str:
    return f"character {token.start() + 1}"


def _require_parses(where: str, text: str) -> None:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        statements = sqlglot.parse(f"SELECT 1 WHERE ({text}\n)", read="postgres")
    except (SqlglotError, RecursionError):
        raise ConfigurationError(f"{where} does not parse as an SQL expression of PostgreSQL.") from None
    tree = statements[0] if len(statements) == 1 else None
    condition = tree.args.get("where") if isinstance(tree, exp.Select) else None
    if condition is None or not isinstance(condition.this, exp.Paren) or isinstance(condition.this.this, exp.Alias):
        raise ConfigurationError(f"{where} is not one SQL expression.")
