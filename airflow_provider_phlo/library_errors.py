"""
Say what went wrong in a library without a value of the data: the one place that decides what of its error is passed on.

The texts of DuckDB, Arrow, PostgreSQL, pandera, dlt, SQLAlchemy and of Python itself quote the value that they could
not use, and a chained exception brings another's text along. So a text is passed on only where it cannot hold a value:
that of errors that were raised on purpose (this package's and Airflow's), and the parts that a library keeps apart
(SQLSTATE, column, constraint, errno). Of all others only the kind and the place are passed on.
"""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from airflow_provider_phlo.broken_files import (
    NO_DECRYPTION,
    broken_file,
    is_encrypted,
    refused_by_store,
    without_partition_values,
)
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, TerminalError, TransientError
from airflow_provider_phlo.sql_errors import describe_duckdb, describe_trino_error, is_of_the_statement

P = ParamSpec("P")
R = TypeVar("R")

_LIBRARIES = re.compile(r"[/\\](?:site-packages|lib[/\\]python[\d.]+)[/\\]|^<")
_UNTOLD = "its text is left out, as it may quote the data"
# SQLSTATEs whose text is about a server, a right or a relation, not about rows or the text of a statement
_PLAIN_SQLSTATES = re.compile(r"(?:08|28|3D|3F|53|57)...|42P01|42P07|42501")
# why there is no connection, as libpq and urllib3 say it; the host may hold a password that was written wrongly
_CONNECTION = re.compile(
    r"FATAL: +[^\n]+|[Cc]onnection (?:refused|timed out|timeout expired|reset by peer)|timeout expired|"
    r"server closed the connection unexpectedly|the connection is closed|No route to host|"
    r"server does not support SSL[^\n]*|certificate verify failed"
)
# what SQLite says of the file; its other texts may quote the statement
_PLAIN_SQLITE = re.compile(
    r"database (?:is locked|disk image is malformed|or disk is full|schema has changed)|unable to open database file|"
    r"attempt to write a readonly database|disk I/O error|file is not a database|no such table: \w+"
)
_NO_PARQUET = "Parquet magic bytes not found in footer"
_DAMAGED_SQLITE = re.compile(r"file is not a database|disk image is malformed")


def describe(error: BaseException, statement: str = "") -> str:
    """
    Return what went wrong, in words that hold no value of the data.

    :param error: anything that was raised.
    :param statement: the SQL that was run, if there was any: names are passed on only if it has them.
    """
    meant = _on_purpose(error)
    if meant is not None:
        return str(meant)
    for cause in _chain(error):
        broken = broken_file(cause)
        if broken is not None:
            return str(broken)
        library = type(cause).__module__.partition(".")[0]
        described = _DESCRIBERS.get(library, _nothing)(cause, statement)
        if described:
            return described
    return f"{_kind(error)}{_place(error)}; {_UNTOLD}"


def trace(error: BaseException) -> Iterator[str]:
    """
    Yield what ``error`` came from: each error's kind, and the lines of code it passed; no value of the data.

    The last line is the one that raised it.
    """
    for number, cause in enumerate(_chain(error)):
        meant = isinstance(cause, PhloError)
        yield f"{'from ' if number else ''}{_kind(cause)}{f': {cause}' if meant and number else ''}"
        for frame in traceback.extract_tb(cause.__traceback__):
            yield f"  {frame.filename}, line {frame.lineno}, in {frame.name}"


def without_values(error: Exception, statement: str = "") -> Exception:
    """
    Return an error to raise in place of ``error``: no text of it, nor of what it was raised from, holds a value.

    Errors of this package and of Airflow come back themselves, without what they were raised from. Raise the result
    outside the ``except`` block, or Python chains it again.
    """
    meant = _on_purpose(error)
    if meant is None:
        meant = _class(error)(describe(error, statement))
        meant.__traceback__ = error.__traceback__
    meant.__cause__ = meant.__context__ = None
    return meant


def _class(error: BaseException) -> type[PhloError]:
    """Return the class that says whether a retry can help."""
    if _is_of(error, "_duckdb") and is_of_the_statement(str(error)):
        return ConfigurationError
    for cause in _chain(error):
        broken = broken_file(cause)
        if (broken and not broken.missing) or (_is_of(cause, "sqlite3") and _DAMAGED_SQLITE.search(str(cause))):
            return TerminalError
    return TransientError


def fails_again(error: Exception) -> bool:
    """Return whether an error of DuckDB comes back as long as the statement and the data are the same."""
    if not _is_of(error, "_duckdb"):
        return False
    import duckdb

    may_pass = (
        duckdb.IOException,
        duckdb.OutOfMemoryException,
        duckdb.TransactionException,
        duckdb.InterruptException,
        duckdb.ConnectionException,
    )
    return not isinstance(error, may_pass)


def keep_values_in(function: Callable[P, R]) -> Callable[P, R]:
    """
    Decorate a function so that no error leaves it that holds a value, in its text or in what it was raised from.

    An error of a library becomes a :class:`~airflow_provider_phlo.exceptions.TransientError`, as only a retry shows
    whether a later attempt succeeds, or, for SQL that is wrong itself, a
    :class:`~airflow_provider_phlo.exceptions.ConfigurationError`.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - every error passes here, none is swallowed
            safe = without_values(error)
        raise safe  # outside the block: inside it Python would chain the error again

    return guarded


def _on_purpose(error: BaseException) -> Exception | None:
    """Return the error that somebody raised with words of their own, out of what libraries wrapped it in."""
    wrapped = _is_of(error, "dlt")
    for each in _chain(error):
        if isinstance(each, PhloError) or (isinstance(each, Exception) and _is_of(each, "airflow")):
            return each
        if not wrapped:
            return None  # what comes after was handled, and then this failed
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_of(error: BaseException, library: str) -> bool:
    return any(base.__module__.partition(".")[0] == library for base in type(error).__mro__)


def _kind(error: BaseException) -> str:
    module = type(error).__module__.partition(".")[0]
    return type(error).__name__ if module in ("builtins", "__main__") else f"{module}'s {type(error).__name__}"


def _place(error: BaseException) -> str:
    """Return the innermost line of code that belongs to no library."""
    frames: list[traceback.FrameSummary] = []
    own: list[traceback.FrameSummary] = []
    for cause in _chain(error):
        found = traceback.extract_tb(cause.__traceback__)
        frames = [*found] or frames
        own = [frame for frame in found if not _LIBRARIES.search(frame.filename)] or own
    if not frames:
        return ""
    last = (own or frames)[-1]
    file = last.filename.replace("\\", "/").rpartition("/")[2]
    return f" in {last.name}, {file} line {last.lineno}"


# --- one for each library -------------------------------------------------------------------------------------


def _nothing(error: BaseException, statement: str) -> str | None:
    return None


def _duckdb(error: BaseException, statement: str) -> str | None:
    return describe_duckdb(str(error), statement) or f"DuckDB: {type(error).__name__}; {_UNTOLD}"


def _postgres(error: Any, statement: str) -> str | None:
    """Use what the server reports apart from its text; libpq's own texts hold the address, and never a row."""
    # psycopg 2, which SQLAlchemy uses, has it under another name
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    diag = getattr(error, "diag", None)
    if state is None:
        connecting = _CONNECTION.search(str(error))
        return f"PostgreSQL: {type(error).__name__}{f': {connecting[0]}' if connecting else f'; {_UNTOLD}'}"
    parts = {name: getattr(diag, f"{name}_name", None) for name in ("table", "column", "constraint")}
    about = "".join(f", {name} {value}" for name, value in parts.items() if value)
    text = f": {diag.message_primary}" if _PLAIN_SQLSTATES.fullmatch(state) and diag else ""
    return f"PostgreSQL: {type(error).__name__} ({state}{about}){text}"


def _sqlalchemy(error: Any, statement: str) -> str | None:
    """Leave out the parameters, which SQLAlchemy repeats."""
    original = getattr(error, "orig", None)
    return describe(original) if original is not None else f"SQLAlchemy: {type(error).__name__}; {_UNTOLD}"


def _sqlite(error: Any, statement: str) -> str | None:
    text = str(error)
    if not _PLAIN_SQLITE.fullmatch(text):
        return f"SQLite: {getattr(error, 'sqlite_errorname', type(error).__name__)}"
    if _DAMAGED_SQLITE.search(text):
        return f"SQLite: {text}. Put the database back from a copy. A retry does not help."
    if "is locked" in text:
        return f"SQLite: {text}: another process holds it. A retry helps once that process is done."
    return f"SQLite: {text}"


def _trino(error: Any, statement: str) -> str | None:
    name = getattr(error, "error_name", None)
    return (
        describe_trino_error(name, error.message, error.query_id, statement)
        if name
        else f"Trino: {type(error).__name__}"
    )


def _requests(error: Any, statement: str) -> str | None:
    """Name the host alone: a URL's query and path may hold a token."""
    from urllib.parse import urlsplit

    host = urlsplit(getattr(getattr(error, "request", None), "url", None) or "").hostname
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = None if status else _CONNECTION.search(str(error))
    about = f" answered {status}" if status else f": {reason[0]}" if reason else ""
    return f"HTTP: {type(error).__name__}{f', {host}' if host else ''}{about}"


def _dlt(error: Any, statement: str) -> str | None:
    """Name the resource and the path; of an error that dlt only wraps, the cause is described instead."""
    if error.__cause__ is not None or error.__context__ is not None:
        return None
    names = {name: getattr(error, name, None) for name in ("pipe_name", "resource_name", "json_path", "column_name")}
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in names.items() if isinstance(value, str))
    return f"dlt: {type(error).__name__}{f' ({about})' if about else ''}{_place(error)}; {_UNTOLD}"


def _pandera(error: Any, statement: str) -> str | None:
    cases = getattr(error, "schema_errors", None) or [error]
    names = {
        f"{getattr(getattr(case, 'schema', None), 'name', None) or 'the frame'}: {getattr(case, 'reason_code', None)}"
        for case in cases
        if getattr(case, "reason_code", None)
    }
    return f"pandera: {type(error).__name__} ({', '.join(sorted(names)) or _UNTOLD})"


def _pydantic(error: Any, statement: str) -> str | None:
    if not hasattr(error, "errors"):
        return None
    fields = {str(each["loc"][0]) for each in error.errors(include_input=False, include_url=False) if each["loc"]}
    return f"{error.title}: {', '.join(sorted(fields)) or 'the whole'} is not as it has to be"


def _json(error: Any, statement: str) -> str | None:
    """Say where the text stops being JSON; what it is instead may be a value."""
    if not hasattr(error, "lineno"):
        return None
    return f"{_kind(error)}{_place(error)}: not JSON from line {error.lineno}, column {error.colno} of what was read"


def _zone(error: BaseException, statement: str) -> str | None:
    """Leave out what it came from: names of files and modules that hold the zone's."""
    return f"{_kind(error)}{_place(error)}: there is no such time zone" if isinstance(error, KeyError) else None


def _arrow(error: BaseException, statement: str) -> str | None:
    """Say that a file is not Parquet, or damaged; Arrow's other texts may quote a value."""
    return f"{_kind(error)}: a file is not Parquet, or damaged" if _NO_PARQUET in str(error) else None


def _os_error(error: BaseException, statement: str) -> str | None:
    if is_encrypted(error):
        return f"{type(error).__name__}: a file is encrypted. {NO_DECRYPTION}"
    refused = refused_by_store(error)
    if refused:
        return f"{type(error).__name__}: {refused}"
    if not isinstance(error, OSError) or not error.strerror or error.errno is None:
        return None
    # a library looks among its own files for what it is given: the zone of a row
    is_told = error.filename is not None and not _LIBRARIES.search(str(error.filename))
    where = without_partition_values(str(error.filename)) if is_told else ""
    return f"{type(error).__name__}: {error.strerror}{f': {where}' if where else ''}"


def _python(error: BaseException, statement: str) -> str | None:
    """Pass on the names of modules and attributes, and what the operating system says."""
    if isinstance(error, ImportError) and error.name:
        return f"{type(error).__name__}: {error.name} cannot be imported{_place(error)}"
    if isinstance(error, NameError) and error.name:
        return f"{type(error).__name__}: {error.name} is not defined{_place(error)}"
    return _os_error(error, statement)


_DESCRIBERS: dict[str, Callable[[Any, str], str | None]] = {
    "_duckdb": _duckdb,
    "duckdb": _duckdb,
    "dlt": _dlt,
    "psycopg": _postgres,
    "psycopg2": _postgres,
    "sqlalchemy": _sqlalchemy,
    "sqlite3": _sqlite,
    "trino": _trino,
    "pyarrow": _arrow,
    "zoneinfo": _zone,
    "pytz": _zone,
    "json": _json,
    "orjson": _json,
    "simplejson": _json,
    "requests": _requests,
    "urllib3": _requests,
    "pandera": _pandera,
    "pydantic": _pydantic,
    "pydantic_core": _pydantic,
    "builtins": _python,
}
