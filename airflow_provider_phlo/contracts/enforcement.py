"""Whether tables keep a contract: their columns, their rows and their service levels, judged at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.contracts.model.contract import Contract, Promise
from airflow_provider_phlo.contracts.rules.checks import checks_of
from airflow_provider_phlo.contracts.rules.columns_check import RULE
from airflow_provider_phlo.contracts.rules.rule_checks import PromiseCheck
from airflow_provider_phlo.contracts.rules.sql_rules import SQLRuleCheck, refusal
from airflow_provider_phlo.contracts.rules.validation import Breach, ownership
from airflow_provider_phlo.contracts.service_levels import LevelVerdict, judge_service_levels, not_judged
from airflow_provider_phlo.contracts.tables import table_name
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.results import QualityCheckResult, Severity

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.iceberg.trino.queries import Queries


@dataclass(frozen=True)
class ContractBreach:
    """
    A promise that is not kept.

    :param column: with dots for members; empty for the table as a whole.
    :param rule: what identifies the rule in the contract.
    :param severity: ``warn``: it is said, and the contract passes.
    :param failed: how many rows break it; None if rows are not counted.
    :param line: where the contract says it.
    """

    table: str
    column: str
    rule: str
    severity: Severity
    message: str
    failed: int | None = None
    row_count: int | None = None
    line: int | None = None


@dataclass(frozen=True)
class ContractReport:
    """
    What a contract's tables were found to be.

    :param results: one for every rule and service level that could be judged, to be recorded.
    :param not_judged: service levels that no fact says anything about, with the reason, and what is promised and not
        checked here.
    """

    contract: Contract
    checked_at: datetime
    breaches: tuple[ContractBreach, ...]
    results: tuple[QualityCheckResult, ...]
    not_judged: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no promise is broken; a rule that only warns breaks none."""
        return all(breach.severity == "warn" for breach in self.breaches)

    @property
    def consumers(self) -> tuple[str, ...]:
        """Who relies on the contract."""
        return tuple(consumer.name for consumer in self.contract.consumers)


def check_contract(
    catalog: Catalog,
    contract: Contract,
    *,
    sla: bool = True,
    branch: str | None = None,
    partition_column: str | None = None,
    partition: str | date | None = None,
    trino: Queries | None = None,
    now: datetime | None = None,
    namespace: str = "raw",
    connection: DuckDBPyConnection | None = None,
) -> ContractReport:
    """
    Check what a contract promises: columns and types, rows by one scan per table, service levels by facts.

    :param sla: whether service levels are judged too; those of a branch never are.
    :param branch: the branch to read, of each table that has it; main otherwise.
    :param partition: check only the rows of this day (or value) in ``partition_column``, ``_phlo_partition_date`` by
        default; uniqueness and the number of rows are then those of that day.
    :param trino: let this Trino read instead of DuckDB, where it can.
    :param now: the moment that ages are counted to.
    :param namespace: of tables that the contract names without one.
    :param connection: a DuckDB (:func:`~..quality.engines.open_duckdb`) that serves one contract after the other.
    :raises ConfigurationError: the contract has SQL that is refused; nothing was run.
    """
    require_readable_sql(contract)
    now = now or datetime.now(UTC)
    results = [_owner_result(contract, breach) for breach in ownership(contract)]
    where: dict[str, Any] = {"branch": branch, "partition_column": partition_column, "partition": partition}
    where |= {"trino": trino, "connection": connection}
    for promise in contract.promises:
        name = table_name(promise, catalog, namespace)
        results += _check_table(catalog, contract, promise, name, where)
    levels = []
    if sla and branch is None:
        levels = judge_service_levels(catalog, contract, now, namespace=namespace, connection=connection)
    results += [_level_result(contract, verdict) for verdict in levels if verdict.passed is not None]
    unjudged = (*contract.unjudged, *not_judged(levels))
    return ContractReport(contract, now, tuple(_breaches(results)), tuple(results), unjudged)


def require_readable_sql(contract: Contract) -> None:
    """
    Refuse a contract with SQL that does not parse, does more than read, or reads more than tables.

    :raises ConfigurationError: names every such rule, with its line.
    """
    problems = [f"{contract.where(each.line)}: {each.problem}." for each in refused_rules(contract)]
    if problems:
        raise ConfigurationError("\n".join(problems))


def refused_rules(contract: Contract) -> Iterator[Breach]:
    """Yield the rules whose SQL does not parse, does more than read, or reads more than tables."""
    for promise in contract.promises:
        for check in checks_of(contract, promise):
            if isinstance(check, SQLRuleCheck):
                refused = refusal(check.query, check.about is not None)
                column = check.about.name if check.about else ""
                if refused:
                    yield Breach(promise.table, column, f"{check.origin.rule}: {refused}", check.origin.line)


def _check_table(
    catalog: Catalog, contract: Contract, promise: Promise, name: str, where: dict[str, Any]
) -> list[QualityCheckResult]:
    from airflow_provider_phlo.iceberg.duckdb.views import branch_of
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.quality.scan import run_checks

    checks = checks_of(contract, promise)
    try:
        results = run_checks(catalog, name, checks, **where)
    except ConfigurationError:
        if find_table(branch_of(catalog, where["branch"])[0], name) is None:
            return [_no_table(contract, promise, name)]
        raise
    return [*map(_with_origin, results, checks)]


def _no_table(contract: Contract, promise: Promise, name: str) -> QualityCheckResult:
    return QualityCheckResult(
        passed=False,
        message="there is no such table",
        check_name=f"{contract.name}: {RULE}",
        check_type="schema",
        table=name,
        metrics=_facts(contract, RULE, promise.line)
        | {"consumers": [each.name for each in contract.consumers], "owner": contract.owner},
    )


def _level_result(contract: Contract, verdict: LevelVerdict) -> QualityCheckResult:
    return QualityCheckResult(
        passed=bool(verdict.passed),
        message=verdict.message,
        check_name=f"{contract.name}: {verdict.rule}",
        check_type="service_level",
        table=verdict.table,
        columns=(verdict.column,) if verdict.column else (),
        metrics={**_facts(contract, verdict.rule, verdict.line), **verdict.facts},
    )


def _facts(contract: Contract, rule: str, line: int | None) -> dict[str, Any]:
    return {"contract": contract.name, "version": contract.version, "rule": rule, "line": line}


def _with_origin(result: QualityCheckResult, check: PromiseCheck) -> QualityCheckResult:
    """Return a result that says which promise it is of; one that the engine failed at does not yet."""
    return replace(result, metrics={**check.origin.facts(), **result.metrics})


def _breaches(results: Iterable[QualityCheckResult]) -> Iterator[ContractBreach]:
    """Yield what is broken; a column that is not there once, not with each of its rules."""
    results = list(results)
    gone = {(result.table, each["column"]) for result in results for each in result.metrics.get("problems", ())}
    for result in results:
        if result.passed:
            continue
        listed: Sequence[dict[str, Any]] = result.metrics.get("problems", ())
        for each in listed:
            yield _breach(result, each["column"], each["problem"], each["line"])
        columns = {(result.table, column) for column in result.columns}
        if not listed and not (result.failed is None and gone & columns):
            yield _breach(result, ", ".join(result.columns), result.message, result.metrics["line"])


def _breach(result: QualityCheckResult, column: str, message: str, line: int | None) -> ContractBreach:
    return ContractBreach(
        table=result.table or "",
        column=column,
        rule=result.metrics["rule"],
        severity=result.severity,
        message=message,
        failed=result.failed,
        row_count=result.row_count,
        line=line,
    )


def _owner_result(contract: Contract, breach: Breach) -> QualityCheckResult:
    return QualityCheckResult(
        passed=False,
        message=breach.problem,
        check_name=f"{contract.name}: owner",
        check_type="schema",
        table=breach.table,
        metrics=_facts(contract, "owner", breach.line),
    )
