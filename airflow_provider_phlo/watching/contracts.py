"""Whether the tables of contracts exist and keep their service levels, as far as facts say; no row is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Severity, Verdict
from airflow_provider_phlo.contract_files import FOLDER, find_contracts
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.quality.freshness import TablePolicy

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.contracts.model.contract import Contract, Promise
    from airflow_provider_phlo.contracts.service_levels import LevelVerdict

#: Of contracts in these states nobody may expect a table yet, or any more.
NOT_BINDING = frozenset({"draft", "proposed", "retired"})
# what is said in place of service levels that could not be judged
_NOT_JUDGED = "service levels"
# contracts of files that have not changed: time and size, and what they hold
_READ: dict[Path, tuple[tuple[int, int], Contract]] = {}


@dataclass(frozen=True)
class _Round:
    """
    Where contracts are judged, and when.

    :param policies: what stands with each table there is, by name.
    """

    catalog: Catalog
    policies: Mapping[str, TablePolicy]
    now: datetime


@dataclass(frozen=True)
class ContractsSeen:
    """
    What was seen of all contracts.

    :param are_judged: whether every promise that can be watched has a verdict: no file and no catalog was in the way.
    """

    verdicts: tuple[Verdict, ...] = ()
    are_judged: bool = True


def see_contracts(catalog: Catalog, folder: Path, policies: Mapping[str, TablePolicy], now: datetime) -> ContractsSeen:
    """
    Return what is to be said of the tables and service levels that contracts promise, and of files that are not ones.

    :param folder: the project's.
    :param policies: what stands with each table there is, by name.
    """
    contracts = folder / FOLDER
    if not contracts.is_dir():
        return ContractsSeen()
    this = _Round(catalog, policies, now)
    verdicts: list[Verdict] = []
    problems = []
    for path in find_contracts(contracts):
        try:
            contract = _read(path)
        except (PhloError, OSError) as error:
            problems.append(describe(error))
            continue
        verdicts += _of_contract(this, contract)
    are_judged = not problems and not any(each.subject.endswith(f" {_NOT_JUDGED}") for each in verdicts)
    return ContractsSeen((*verdicts, _of_files(problems, now)), are_judged)


def _of_files(problems: Sequence[str], now: datetime) -> Verdict:
    """Return whether all files are contracts: what one of them promises is not watched."""
    message = "; ".join(problems) if problems else f"all files in {FOLDER} are contracts"
    return Verdict(RuleKind.CONTRACT_BREACH, None, "files", not problems, Severity.ERROR, message, now)


def _read(path: Path) -> Contract:
    from airflow_provider_phlo.contracts.forms.reading import read_contract  # a second, which only contracts cost

    found = path.stat()
    version = (found.st_mtime_ns, found.st_size)
    known = _READ.get(path)
    if known is None or known[0] != version:
        known = _READ[path] = (version, read_contract(path))
    return known[1]


def _of_contract(this: _Round, contract: Contract) -> Iterator[Verdict]:
    from airflow_provider_phlo.contracts.service_levels import LevelVerdict, judge_service_levels

    tables = [_of_table(this, contract, promise) for promise in contract.promises]
    for level in tables:
        yield _verdict(this, contract, level)
    exists = any(level.passed for level in tables)
    try:
        levels = judge_service_levels(this.catalog, contract, this.now, rows=False)
    except Exception as error:  # noqa: BLE001 - a contract that cannot be judged is a verdict, and stops no round
        levels = [LevelVerdict(tables[0].table, _NOT_JUDGED, None, describe(error))]
    for level in levels:
        if exists or level.passed is not None:  # that there is no table is said already
            yield _verdict(this, contract, level)


def _of_table(this: _Round, contract: Contract, promise: Promise) -> LevelVerdict:
    """Return whether a table that is promised exists: one that was dropped or renamed is as stale as can be."""
    from airflow_provider_phlo.contracts.service_levels import LevelVerdict
    from airflow_provider_phlo.contracts.tables import table_name
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    try:
        name = table_name(promise, this.catalog)
    except ConfigurationError as error:
        return LevelVerdict(promise.table, "table", False, str(error).rstrip("."))
    if name in this.policies or find_table(this.catalog, name) is not None:
        return LevelVerdict(name, "table", True, "the table exists")
    if contract.status.casefold() in NOT_BINDING:
        return LevelVerdict(name, "table", None, f"there is no such table; the contract's status is {contract.status}")
    return LevelVerdict(name, "table", False, "there is no such table")


def _verdict(this: _Round, contract: Contract, level: LevelVerdict) -> Verdict:
    policy = this.policies.get(level.table) or TablePolicy()
    return Verdict(
        RuleKind.CONTRACT_BREACH,
        level.table or None,
        f"{contract.name} {level.rule}",
        level.passed,
        Severity.ERROR,
        f"{level.table}: {level.rule} of contract {contract.name}: {level.message}",
        this.now,
        level.facts,
        policy.group,
        contract.owner or policy.owner,
        policy.tags,
        tuple(consumer.name for consumer in contract.consumers),
    )
