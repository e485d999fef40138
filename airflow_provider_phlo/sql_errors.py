"""
Say what is wrong with a statement without a value of the data, out of the text in which an engine says it.

Engines quote the values that they cannot convert, and no rule finds where a value ends (``'O'Brien 77'``). So nothing
of their text is passed on but words that are known: the kind of the error, names that the statement itself has, and the
part of the statement that the engine points to, without its literals.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_phlo.sql import open_parser

# what each kind means, for those whose text is about values
_MEANINGS = {
    "Conversion Error": "a value cannot be converted",
    "Invalid Input Error": "a value cannot be used",
    "Out of Range Error": "a value is out of range",
    "Constraint Error": "a constraint is broken",
    "Not implemented Error": "that is not implemented",
    "IO Error": "a file cannot be read or written",
    "HTTP Error": "a server did not answer as it should",
    "Out of Memory Error": "memory is short",
    "Mismatch Type Error": "types do not match",
    "TransactionContext Error": "the transaction could not be committed, or conflicts with another",
}
# what the operating system says; it ends a text about a file
_OF_THE_SYSTEM = {
    f": {os.strerror(number)}"
    for number in (
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE),
        *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOENT),
    )
}
# texts about data that quote none of it
_TEXTS = {
    "Map keys must be unique": "a map has one of its keys twice, which DuckDB does not read: leave its column out",
    "File is encrypted but no file crypto metadata": "a file is encrypted, which is not read here",
}
# what DuckDB says of a line of a CSV file, after the line itself
_TEXTS_OF_LINES = {
    "\nValue with unterminated quote found": "a quote is not closed, or text follows one",
    "\nExpected Number of Columns: ": "a line does not have as many values as there are columns",
}
# Kinds that the text of the statement decides, whatever the data is; where that is not known, this is all that is said.
OF_THE_STATEMENT = {
    "Parser Error": "the statement cannot be parsed",
    "Syntax Error": "the statement cannot be parsed",
    "Binder Error": "the statement names a column or a function that does not fit",
    "Catalog Error": "the statement names something that does not exist",
}
# kinds that a value decides
_OF_THE_DATA = frozenset(
    {
        "Conversion Error",
        "Invalid Input Error",
        "Out of Range Error",
        "Constraint Error",
        "Not implemented Error",
        "Mismatch Type Error",
    }
)
# others may have put words on lines of their own before it
_KIND = re.compile(r"(?:\A|\n)(?P<indent>[ \t]*)(?P<kind>[A-Z][A-Za-z]*(?: [A-Za-z]+){0,4}): ")
_COLUMN = re.compile(r".* when casting from source column (?P<column>.+?)(?:\n\nLINE |$)", re.DOTALL)
# a type's name comes from DuckDB, or from who declared it
_IN_FILE = re.compile(
    r"CSV Error on Line: (?P<line>\d+)\n(?:.*\bis being converted as type (?P<type>[A-Z]+))?", re.DOTALL
)
_POINTED = re.compile(r".*\n\s*(?P<head>LINE \d+: )(?P<line>[^\n]*)\n(?P<marks>[ ]*\^+)", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_NAMED = re.compile(r" with name (?P<name>.+) does not exist")
_SIGNATURE = re.compile(r"[a-z_0-9]+\([A-Z0-9_\[\](), ]*\)")
_OFFERED = re.compile(r"\s*Candidate bindings: *:? *((?:\"[^\"]*\"(?:, )?)+)")
_LINE = re.compile(r"\n\s*LINE (\d+): ")
# what DuckDB says of statements, in the words of SQL
_PLAIN = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r'Referenced column "([^"]*)" not found in FROM clause!', r"there is no column \1"),
        (r'Table "([^"]*)" does not have a column named "([^"]*)"', r"there is no column \2 in \1"),
        (r'Referenced column "([^"]*)" was not found because the FROM clause is missing', r"\1 needs a FROM"),
        (r"(?:Scalar|Aggregate|Table|Window) Function with name (\S+) does not exist!", r"there is no function \1"),
        (r"Type with name (\S+) does not exist!", r"there is no type \1"),
        (r'(?:Referenced table|Table with name) "?([^" ]*)"? (?:not found|does not exist)!?', r"there is no table \1"),
        (r'column "([^"]*)" must appear in the GROUP BY clause or must be part of an aggregate function\.?',
         r"column \1 has to be in GROUP BY or in an aggregate"),
        (r"No function matches the given name and argument types '?\"?([^'\"]*)'?\"?\..*",
         r"there is no \1: the arguments have other types"),
        (r'Ambiguous reference to column name "([^"]*)".*', r"several tables have a column \1"),
        (r'syntax error at or near "([^"]*)"', r"syntax error at \1"),
    )
)  # fmt: skip
# tables of these have columns that are named after data
_NAMES_OF_DATA = re.compile(r"\b(?:pivot\w*|read_\w+)\b", re.IGNORECASE)
_FUNCTIONS = {
    "according to format specifier": re.compile(r"strptime"),
    "Malformed JSON": re.compile(r".*json.*|->>?"),
    "extract specifier": re.compile(r"date_.*|datetrunc|extract"),
    "TimeZone": re.compile(r"timezone"),
}
_MOST_COLUMNS = 4
_TRINO = re.compile(
    # dbt adds where the compiled code is, on lines of their own
    r"Trino\w*Error\(type=\w+, name=(?P<name>\w+), message=(?P<message>.*), query_id=(?P<query>\w+)\)(?:\s|$)",
    re.DOTALL,
)
# errors of Trino whose message is about names and types, which come from the statement
_TRINO_OF_THE_STATEMENT = re.compile(
    r"SYNTAX_ERROR|PERMISSION_DENIED|\w+_NOT_FOUND|MISSING_\w+|DUPLICATE_\w+|AMBIGUOUS_\w+|TYPE_MISMATCH|FUNCTION_\w+"
    r"|NOT_SUPPORTED|COLUMN_TYPE_UNKNOWN|EXPRESSION_NOT_\w+|MISMATCHED_\w+|INVALID_\w+_PROPERTY"
)
_TRINO_OF_THE_DATA = re.compile(
    r"INVALID_(?:CAST|FUNCTION)_ARGUMENT|DIVISION_BY_ZERO|NUMERIC_VALUE_OUT_OF_RANGE|CONSTRAINT_VIOLATION"
    r"|SUBQUERY_MULTIPLE_ROWS|MERGE_TARGET_ROW_MULTIPLE_MATCHES|JSON_\w+_ERROR|PATH_EVALUATION_ERROR"
)
# how Trino's client reports an answer without the protocol; what follows is the body of the page
_TRINO_HTTP = re.compile(r"\berror (?P<status>[45]\d\d)(?=:|\s|$)")
# answers that a retry does not change, and what to look at
_TRINO_REFUSALS = {
    "401": "it does not accept the login: check user, password and authentication method",
    "403": "it does not let this user in: check user and rights",
}
_TLS_REQUIRED = "TLS/SSL is required for authentication"
# tables that dbt makes for the time of a run: another run of the same model has taken one away
_OF_A_RUN = re.compile(r"__dbt_(?:tmp|backup)\b")


def duckdb_kind(text: str) -> str | None:
    """Return the kind of DuckDB error that a text reports, such as ``Conversion Error``; None if it reports none."""
    found = _KIND.search(text)
    return found["kind"] if found and found["kind"] in (*_MEANINGS, *OF_THE_STATEMENT) else None


def describe_duckdb(text: str, statement: str = "") -> str | None:
    """
    Return what a text of DuckDB says, without values; None if it is not one of DuckDB's.

    :param text: DuckDB's own, perhaps with another's words before it.
    :param statement: the SQL that was run: names are passed on only if it has them.
    """
    kind, found = duckdb_kind(text), _KIND.search(text)
    if kind is None or found is None:
        return None
    said = text[found.end() :].replace("\n" + found["indent"], "\n")
    if kind in OF_THE_STATEMENT:
        what = _names_kept(said, statement) if statement else _of_the_statement(kind, said)
    else:
        told = _told(said) or _MEANINGS[kind]
        system = next((words for words in _OF_THE_SYSTEM if said.endswith(words)), "")
        what = told + system + _in_file(said) + _about_columns(said, statement)
    pointed = _pointed_at(said, statement)
    return f"{kind}: {what}" + (f", at {pointed}" if pointed else "")


def _of_the_statement(kind: str, said: str) -> str:
    is_there = kind == "Catalog Error" and "already exists" in said
    return "the statement makes something whose name is taken" if is_there else OF_THE_STATEMENT[kind]


def _told(said: str) -> str | None:
    """Return what a text about data means that quotes none of it."""
    if said.startswith("CSV Error on Line: "):
        return next((meaning for known, meaning in _TEXTS_OF_LINES.items() if known in said), None)
    return next((meaning for known, meaning in _TEXTS.items() if said.startswith(known)), None)


def _in_file(said: str) -> str:
    """Return which line of a CSV file it is about: its columns may be called like data, where a header is missing."""
    found = _IN_FILE.match(said)
    if found is None:
        return ""
    return (f" to {found['type']}" if found["type"] else "") + f", in line {found['line']} of the file"


def in_plain_words(described: str) -> str:
    """
    Return what :func:`describe_duckdb` says of a statement for people who do not know DuckDB: on one line.

    What it does not know keeps DuckDB's sentence, without the kind of the error.
    """
    if duckdb_kind(described) is None:
        return described
    said = _KIND.sub("", described, count=1).partition("\n\n")[0].strip()
    for pattern, words in _PLAIN:
        if pattern.match(said):
            said = pattern.sub(words, said, count=1)
            break
    said = _OFFERED.sub(lambda found: f"; there are {found[1].replace(chr(34), '')}", said)
    line = _LINE.search(described)
    return " ".join(said.split()) + (f", line {line[1]}" if line else "")


def describe_trino(text: str, statement: str = "") -> str | None:
    """Return what a text of Trino's client says, without values; None if it is not one of its."""
    found = _TRINO.search(text)
    if found is None:
        return None
    return describe_trino_error(found["name"], found["message"].strip("\"'"), found["query"], statement)


def describe_trino_error(name: str, message: str, query_id: str | None, statement: str = "") -> str:
    """
    Return what an error of Trino says, without values.

    :param name: such as ``INVALID_CAST_ARGUMENT``.
    :param message: passed on only for errors that are about the statement, and if that is given.
    :param statement: the SQL that was run: names are passed on only if it has them.
    """
    is_told = statement and _TRINO_OF_THE_STATEMENT.fullmatch(name)
    about = f": {_names_kept(message, statement)}" if is_told else ""
    return f"Trino: {name}{about}" + (f" (query {query_id})" if query_id else "")


def describe_trino_refusal(text: str) -> str | None:
    """Return why Trino lets nobody in, out of its client's text; None if that says nothing of it."""
    if _TLS_REQUIRED in text:
        return "Trino: passwords and tokens go over https only: set the scheme, and the port for it"
    found = _TRINO_HTTP.search(text)
    reason = _TRINO_REFUSALS.get(found["status"]) if found else None
    return f"Trino's server answers {found['status']}: {reason}" if found and reason else None


def is_of_the_statement(text: str) -> bool:
    """Return whether the statement itself is wrong, so that it fails again whatever the data is."""
    found = _TRINO.search(text)
    if found:
        lost = found["name"].endswith("_NOT_FOUND") and _OF_A_RUN.search(found["message"])
        return _TRINO_OF_THE_STATEMENT.fullmatch(found["name"]) is not None and not lost
    return duckdb_kind(text) in OF_THE_STATEMENT


def is_of_the_data(text: str) -> bool:
    """Return whether a value is wrong for the statement, so that the same data fails again."""
    found = _TRINO.search(text)
    if found:
        return _TRINO_OF_THE_DATA.fullmatch(found["name"]) is not None
    return duckdb_kind(text) in _OF_THE_DATA


def _names_kept(said: str, statement: str) -> str:
    """Return the first line (and the candidates that DuckDB offers) with those quoted names that are known."""
    lines = said.split("\n\n", 1)[0].splitlines() or [""]
    offered = [line for line in lines[1:] if line.startswith("Candidate bindings: ")]
    if _NAMES_OF_DATA.search(statement):
        offered = []

    def known(quoted: re.Match[str]) -> str:
        inner = quoted.group()[1:-1]
        return quoted.group() if inner.lower() in statement.lower() or _SIGNATURE.fullmatch(inner) else '"…"'

    named = _NAMED.search(lines[0])
    if named and named["name"].lower() not in statement.lower():
        lines[0] = lines[0].replace(named["name"], "…")
    return " ".join([_QUOTED.sub(known, lines[0]), *offered])


def _about_columns(said: str, statement: str) -> str:
    cast = _COLUMN.match(said)
    if cast and _has_word(statement, cast["column"]):
        return f" (column {cast['column']})"
    columns = sorted(_columns_converted(said, statement))
    if not 0 < len(columns) <= _MOST_COLUMNS:
        return ""
    return f" (column {' or '.join(columns)})"


def _has_word(statement: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", statement, re.IGNORECASE) is not None


def _pointed_at(said: str, statement: str) -> str:
    """Return the part of the statement that DuckDB marks, without literals."""
    found = _POINTED.match(said)
    if found is None:
        return ""
    marks, before = found["marks"], len(found["head"])
    start, end = marks.index("^") - before, len(marks) - before
    part = found["line"][max(start, 0) : end]
    if not part.strip() or (part.lower() not in " ".join(statement.split()).lower() and part not in statement):
        return ""
    masked = _LITERAL.sub("'…'", part)
    # half a literal: DuckDB shows no more than a line
    return masked if masked.count("'") % 2 == 0 else masked.partition("'")[0].rstrip() or ""


def _columns_converted(said: str, statement: str) -> set[str]:
    """Return the columns that go into the function which failed; into any function or cast if that is not known."""
    wanted = next((names for words, names in _FUNCTIONS.items() if words in said), re.compile(".*"))
    found: set[str] = set()
    for node in _nodes(_syntax_tree(statement)):
        name = node.get("function_name") or ("cast to json" if node.get("class") == "CAST" else None)
        if isinstance(name, str) and wanted.fullmatch(name):
            found |= {str(column["column_names"][-1]) for column in _nodes(node) if column.get("class") == "COLUMN_REF"}
    return found


def _syntax_tree(statement: str) -> Any:
    import duckdb

    try:
        with open_parser() as parser:
            row = parser.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()
    except duckdb.Error:
        return None
    return json.loads(row[0]) if row else None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)
