"""What dbt's results of a node and its tests mean for the task that ran them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, QualityCheckError, TransientError
from airflow_provider_phlo.sql_errors import (
    OF_THE_DATA,
    describe_duckdb,
    describe_trino,
    duckdb_kind,
    is_of_the_statement,
)

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult

# what dbt itself says of the project: its files, Jinja and variables
_OF_THE_PROJECT = re.compile(r"\s*(?:Compilation|Parsing|Dependency|Env var|Dbt project|Selector|Usage) Error\b", re.I)
_FIRST_WORDS = re.compile(r"\s*(?P<kind>[A-Z][a-z]+(?: [A-Z]?[a-z]+)? Error)\b")
_TESTS = frozenset({"test", "unit_test"})
#: The states of what is done and may be built upon.
PASSED = frozenset({"pass", "success", "no-op"})


def judge(table: str, results: Sequence[NodeResult], outcome: str) -> tuple[int, tuple[str, ...]]:
    """Return how many tests passed and which warn."""
    broken = [result for result in results if str(result.status) == "error"]
    if broken:
        raise _error(table, broken)
    failed = [f"{result.node.name} ({result.failures} rows)" for result in results if str(result.status) == "fail"]
    if failed:
        raise QualityCheckError(f"{table}: {len(failed)} dbt tests failed, so {outcome}: {', '.join(failed)}.")
    warnings = tuple(
        f"{result.node.name} ({result.failures} rows)" for result in results if str(result.status) == "warn"
    )
    passed = sum(result.node.resource_type in _TESTS and str(result.status) in PASSED for result in results)
    return passed, warnings


def _error(table: str, broken: Sequence[NodeResult]) -> PhloError:
    texts = [str(result.message) for result in broken]
    statements = [getattr(result.node, "compiled_code", None) or "" for result in broken]
    said = "; ".join(
        f"{result.node.name}: {describe(text, statement)}"
        for result, text, statement in zip(broken, texts, statements, strict=True)
    )
    if any("Compilation Error" in text or is_of_the_statement(text) for text in texts):
        return ConfigurationError(f"{table} was not built. {said}")
    if any(duckdb_kind(text) in OF_THE_DATA for text in texts):
        return ConfigurationError(
            f"{table} was not built. {said}. The same rows fail again: correct them at their source, or let the SQL "
            "take them (try_cast, try, a filter)."
        )
    return TransientError(f"{table} was not built. {said}")


def describe(text: str, statement: str = "") -> str:
    """Return what dbt says without a value of the data; dbt passes on the engine's own text."""
    if _OF_THE_PROJECT.match(text):
        return text.strip()
    described = describe_duckdb(text, statement) or describe_trino(text, statement)
    if described:
        return described
    first = _FIRST_WORDS.match(text)
    return f"{first['kind'] if first else 'dbt failed'}; the rest is left out, as it may quote the data"
