"""The SQL of metrics: what it may be, and what it returns, over the catalog's tables by DuckDB or on Trino."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_phlo.alerts.rules.conditions import Number, as_number
from airflow_provider_phlo.alerts.rules.configuration import Rule
from airflow_provider_phlo.exceptions import ConfigurationError, TerminalError
from airflow_provider_phlo.library_errors import fails_again, without_values
from airflow_provider_phlo.quality.engines import TookTooLongError, time_limit
from airflow_provider_phlo.sql import quote, quote_identifier
from airflow_provider_phlo.sql_errors import in_plain_words

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.iceberg.trino.queries import Queries

#: A metric that takes longer is ended: the round has others to look at.
LONGEST_SECONDS = 30.0
_MOST_ROWS = 5_000


# what the value of a metric of one's own SQL may be called, whatever the SELECT calls it
_ANY_NAME = "value"


class CannotSay(Exception):
    """A metric says nothing now; the text says why, without a value."""


class CannotLook(CannotSay):
    """A metric says nothing now, for a reason that may pass by itself."""


class CannotEvaluate(CannotSay):
    """A metric says nothing, and will not as long as nobody changes the rule or the table."""


@dataclass(frozen=True)
class Values:
    """
    What a metric returned: one value, or values by day.

    :param single: whether it is one value that has no day.
    """

    by_day: dict[date, Number | None]
    value: Number | None = None
    single: bool = False


def statement_of(rule: Rule) -> str:
    """Return the SQL of a metric: its own, or what its table and condition stand for."""
    if rule.sql is not None:
        return rule.sql.strip().rstrip(";")
    assert rule.table is not None
    assert rule.when is not None
    day = f"{quote_identifier(rule.day)} AS day, " if rule.day else ""
    # the value is an expression of the rule's author, parsed before it runs
    return f"SELECT {day}{rule.when.value} AS value FROM {quote(rule.table)}"  # noqa: S608


def require_readable(rule: Rule) -> None:
    """
    Refuse the SQL of a metric that is more than one statement that reads.

    :raises ConfigurationError: it is.
    """
    statement = statement_of(rule)
    if rule.engine == "trino":
        _require_readable_by_trino(statement)
        return
    from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only, beyond_tables, syntax_tree

    assert_read_only(statement)
    beyond = beyond_tables(syntax_tree(statement))
    if beyond:
        raise ConfigurationError(f"The SQL is refused: {beyond}.")


def _require_readable_by_trino(statement: str) -> None:
    import sqlglot
    from sqlglot import expressions
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(statement, dialect="trino")
    except (SqlglotError, RecursionError):
        raise ConfigurationError("Cannot read the SQL: it is not SQL of Trino.") from None
    writes = (expressions.DML, expressions.DDL, expressions.Command)
    for each in parsed:
        reads = isinstance(each, expressions.Query) and not any(
            isinstance(node, writes) and not isinstance(node, expressions.Query) for node in each.walk()
        )
        if len(parsed) != 1 or not reads:
            raise ConfigurationError("Only reading is allowed here: write one SELECT.")


def tables_of(rule: Rule, catalog: Catalog) -> tuple[list[str], list[str]]:
    """
    Return the tables that a metric reads, as the catalog calls them, and those of them that do not exist.

    :raises CannotSay: the catalog does not answer, or the SQL cannot be read.
    """
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables

    try:
        wanted = [rule.table] if rule.table else _tables_read(rule)
        by_name = {name.casefold(): name for name in all_tables(catalog)}
    except Exception as error:  # noqa: BLE001 - one rule that cannot be evaluated leaves the others alone
        raise _reason(error) from None
    found = list(dict.fromkeys(by_name.get(name.casefold(), name) for name in wanted))
    return found, sorted(name for name in found if name.casefold() not in by_name)


def _tables_read(rule: Rule) -> list[str]:
    """Return the tables that the SQL of a metric reads, in one order."""
    statement = statement_of(rule)
    if rule.engine == "duckdb":
        from airflow_provider_phlo.iceberg.duckdb.statements import referenced_tables

        return sorted(referenced_tables(statement))
    import sqlglot
    from sqlglot import expressions

    parsed = sqlglot.parse_one(statement, dialect="trino")
    ctes = {each.alias for each in parsed.find_all(expressions.CTE)}
    read = [each for each in parsed.find_all(expressions.Table) if each.db or each.name not in ctes]
    return [f"{each.db}.{each.name}" for each in read if each.db]


def read_values(rule: Rule, catalog: Catalog, tables: Sequence[str], trino: Queries | None) -> Values:
    """
    Run a metric.

    :param tables: those that it reads.
    :raises CannotSay: it cannot be run, or returned what says nothing.
    """
    statement = statement_of(rule)
    try:
        require_readable(rule)
        columns, rows = _run_on_trino(trino, statement) if rule.engine == "trino" else _run(catalog, tables, statement)
    except CannotSay:
        raise
    except TookTooLongError as error:
        raise CannotLook(str(error)) from None
    except Exception as error:  # noqa: BLE001 - see above
        raise _reason(error, statement) from None
    if len(rows) > _MOST_ROWS:
        raise CannotEvaluate(
            f"it returns more than {_MOST_ROWS:,} rows: aggregate by day, and select the last days only"
        )
    return _values(rule, columns, rows)


def _reason(error: Exception, statement: str = "") -> CannotSay:
    """Return why a metric says nothing, without a value, and whether that will pass."""
    safe = without_values(error, statement)
    lasts = isinstance(safe, ConfigurationError | TerminalError) or fails_again(error)
    return (CannotEvaluate if lasts else CannotLook)(in_plain_words(str(safe)).rstrip("."))


def _run(catalog: Catalog, tables: Sequence[str], statement: str) -> tuple[list[str], list[Any]]:
    from airflow_provider_phlo.iceberg.duckdb.views import connect

    with (
        connect(catalog, tables=list(tables), locked=True) as connection,
        time_limit(LONGEST_SECONDS, connection.interrupt),
    ):
        cursor = connection.execute(statement)
        return [str(column[0]) for column in cursor.description or ()], cursor.fetchmany(_MOST_ROWS + 1)


def _run_on_trino(trino: Queries | None, statement: str) -> tuple[list[str], list[Any]]:
    if trino is None:
        raise CannotLook("it runs on Trino, and nothing here connects to one")
    with time_limit(LONGEST_SECONDS, trino.cancel):
        answer = trino.ask(statement)
    return [name for name, _ in answer.columns], answer.rows


def _values(rule: Rule, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Values:
    if not rows:
        raise CannotSay("it returns no row")
    at = _value_column(rule, columns)
    day_at = next((number for number in range(len(columns)) if number != at and _is_day(rows[0][number])), None)
    assert rule.when is not None
    if day_at is None:
        if len(rows) > 1:
            raise CannotEvaluate(f"it returns {len(rows)} rows, and no column of them is a day")
        if rule.when.days > 1:
            raise CannotEvaluate("it returns one value, and the condition is about several days")
        return Values({}, _number(rows[0][at]), single=True)
    by_day: dict[date, Number | None] = {}
    for row in rows:
        day = _day(row[day_at], rule.zone)
        if day is None:
            raise CannotEvaluate("a row has no day")
        if day in by_day:
            raise CannotEvaluate(f"{day} is there twice: return one row per day")
        by_day[day] = _number(row[at])
    return Values(by_day)


def _value_column(rule: Rule, columns: Sequence[str]) -> int:
    assert rule.when is not None
    name = _ANY_NAME if rule.sql is None else rule.when.value
    found = [number for number, column in enumerate(columns) if column.casefold() == (name or "").casefold()]
    if len(found) == 1:
        return found[0]
    if name is None or (name.casefold() == _ANY_NAME and not found):
        return len(columns) - 1
    raise CannotEvaluate(
        f"it returns {', '.join(columns)}, and {name} is not one of these columns: name one before the comparison, or "
        f"write {_ANY_NAME} for the last"
    )


def _number(value: Any) -> Number | None:
    try:
        return as_number(value)
    except TypeError as error:
        raise CannotEvaluate(f"its value is not a number, but of the type {error}") from None


def _is_day(value: Any) -> bool:
    return _day(value, "UTC") is not None


def _day(value: Any, zone: str) -> date | None:
    """Return the day of a value; a moment's in the zone, NULL and other things have none."""
    if isinstance(value, datetime):
        return (value.astimezone(ZoneInfo(zone)) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
