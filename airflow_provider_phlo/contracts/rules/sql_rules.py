"""Rules that are SQL: what of it is refused, what its placeholders stand for, and the check that it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.contracts.rules.places import Place
from airflow_provider_phlo.contracts.rules.rule_checks import PromiseCheck
from airflow_provider_phlo.contracts.rules.sql_aggregates import named_columns, shared_aggregate
from airflow_provider_phlo.contracts.rules.thresholds import Threshold
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import TookTooLongError
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import Query, quote, quote_identifier
from airflow_provider_phlo.suggestions import did_you_mean

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

# as the standard, datacontract-cli and this package's documentation spell them; quotes around them are theirs
_PLACEHOLDER = re.compile(r"""(["'`]?)(\$?)\{\s*([A-Za-z_]\w*)\s*\}\1""")
_TABLE = frozenset({"table", "model", "object"})
_COLUMN = frozenset({"column", "field", "property"})
# before the table's name: where it is, which the catalog knows
_PLACES = ("schema", "database", "catalog", "dataset", "project")
_QUALIFIED = re.compile(
    rf"(?:[\"'`]?\$?\{{\s*(?:{'|'.join(_PLACES)})\s*\}}[\"'`]?\s*\.\s*)+(?=[\"'`]?\$?\{{)", re.IGNORECASE
)
_ANSWER = "answer of the scan"
#: A query that takes longer is ended, and its rule is broken: the others are still judged.
LONGEST_SECONDS = 300.0


def with_names(query: str, table: str, column: str | None) -> str:
    """
    Return a query with its placeholders replaced.

    :param table: what stands for the table, as SQL.
    :param column: what stands for the column that the rule is about, as SQL; None for a rule about the table.
    :raises ConfigurationError: a placeholder is not known, or there is no column for it.
    """

    def name_of(found: re.Match[str]) -> str:
        word = found[3].lower()
        if word in _TABLE:
            return table
        if word in _COLUMN and column is not None:
            return column
        if word in _COLUMN:
            raise ConfigurationError(f"{found[0]} stands for a column, and the rule is about a table")
        if not found[2]:  # {name} may also be of a pattern, or of a value
            return found[0]
        hint = did_you_mean(word, (*_TABLE, *_COLUMN)) or " Known are ${table} and ${column}."
        raise ConfigurationError(f"{found[0]} is not a placeholder.{hint}")

    return _PLACEHOLDER.sub(name_of, _QUALIFIED.sub("", query))


@lru_cache(maxsize=1000)
def refusal(query: str, column: bool) -> str | None:
    """
    Return why a query is not run, or None: it does not parse, does more than read, or reads more than tables.

    :param column: whether the rule is about a column.
    """
    from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only, beyond_tables, syntax_tree

    try:
        text = with_names(query, "phlo_table", "phlo_column" if column else None)
        assert_read_only(text)
        return beyond_tables(syntax_tree(text))
    except ConfigurationError as error:
        return str(error).rstrip(".").replace("\n", " ")


@dataclass
class SQLRuleCheck(PromiseCheck):
    """
    A query returns one value, which is what it has to be.

    It sees the rows under check where it names ``${table}``, or the table by its bare name, and whole tables elsewhere.

    :param query: with placeholders.
    :param about: the column that the rule is about.
    :param called: what else the query may call the table.
    """

    query: str
    threshold: Threshold
    about: Place | None = None
    called: str = ""

    check_type: ClassVar[str] = "sql"

    def column_names(self) -> tuple[str, ...]:
        """Return the column that the rule is about."""
        return (self.about.name,) if self.about else ()

    def expectation(self) -> str:
        """Return what the query has to return."""
        return f"the query returns {self.threshold.words()}"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return why the query is not run, or None."""
        missing = self.about.problem(types) if self.about else None
        if self.about and not missing and self.about.in_list(types):
            missing = f"{self.about.name} is in a list: write the rule for the table, with unnest"
        if missing:
            return missing
        refused = refusal(self.query, self.about is not None)
        return f"the query is refused: {refused}" if refused else None

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Let the shared scan answer a query that is one aggregate over the rows."""
        if rows.dialect.name != "duckdb":
            return {}
        tables = {name.casefold() for name in (_bare_name(rows), self.called) if name}
        text = with_names(self.query, quote_identifier(_bare_name(rows)), self._column())
        columns = frozenset(name.casefold() for name in rows.columns)
        found = shared_aggregate(text, frozenset(tables), columns)
        return {} if found is None else {_ANSWER: Query(found)}

    def _column(self) -> str | None:
        return self.about.value() if self.about else None

    def evaluate(
        self, rows: RowsUnderCheck, context: Mapping[str, Any], row_count: int, values: Mapping[str, Any]
    ) -> QualityCheckResult:
        """Judge what the scan has answered; else run the query."""
        if _ANSWER in values:
            return self._with_origin(self.judge(row_count, {"answer": [(values[_ANSWER],)]}))
        result = super().evaluate(rows, context, row_count, values)
        unknown = "" if result.passed or "answered" in result.metrics else self._unknown_columns(rows)
        return replace(result, message=f"{result.message}; {unknown}") if unknown else result

    def _unknown_columns(self, rows: RowsUnderCheck) -> str:
        """Return which columns of a query that could not be evaluated the table may lack; empty if none is near one."""
        text = with_names(self.query, quote_identifier(_bare_name(rows)), self._column())
        known = {name.casefold() for name in rows.columns}
        unknown = [name for name in named_columns(text) if name.casefold() not in known]
        hints = [f"there is no column {name}.{did_you_mean(name, rows.columns)}".rstrip(".") for name in unknown]
        return "; ".join(hints)

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Run the query."""
        name = _bare_name(rows)
        bare = quote_identifier(name)
        where = rows.source.sql.removeprefix(rows.all_rows)
        source = quote(rows.table) if rows.table else rows.all_rows
        text = with_names(self.query, bare, self._column()).strip().rstrip(";")
        tables = f"{bare} AS (SELECT * FROM {source}{where})"  # noqa: S608 - quoted
        if self.called and self.called.casefold() != name.casefold():
            tables += f", {quote_identifier(self.called)} AS (SELECT * FROM {bare})"  # noqa: S608 - quoted
        sql = f"WITH {tables} SELECT * FROM (\n{text}\n) AS answer LIMIT 2"  # noqa: S608 - the contract's own
        query = Query(rows.engine.resolve(sql), rows.source.parameters)
        try:
            with rows.engine.time_limit(LONGEST_SECONDS):
                return {"answer": rows.fetch(query)}
        except TookTooLongError as error:
            return {"ended": str(error)}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare the value that the query returned."""
        if "ended" in values:
            return QualityCheckResult(
                False, message=f"the query was ended: {values['ended']}", metrics={"answered": True}
            )
        answer = values["answer"]
        if len(answer) != 1 or len(answer[0]) != 1:
            shape = "no row" if not answer else "several rows" if len(answer) > 1 else f"{len(answer[0])} columns"
            found = f"the query returns {shape}, and has to return one value"
            return QualityCheckResult(False, message=found, metrics={"answered": True})
        (found,) = answer[0]
        shown = _shown(found)
        return QualityCheckResult(
            self.threshold.value(found),
            message=f"the query must return {self.threshold.words()}: it returned {shown}",
            actual=shown,
            metrics={"answered": True},
        )


def _bare_name(rows: RowsUnderCheck) -> str:
    return (rows.table or "df").rpartition(".")[2]


def _shown(found: Any) -> str:
    """Return an answer for people: numbers and truth values; texts and moments may be a person's."""
    if found is None:
        return "NULL"
    if isinstance(found, bool | int | float | Decimal):
        return str(found)
    return f"a value of type {type(found).__name__}"
