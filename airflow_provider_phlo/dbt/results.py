"""What dbt's results of a node and its tests mean for the task that ran them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, QualityCheckError, TransientError
from airflow_provider_phlo.sql_errors import (
    describe_duckdb,
    describe_trino,
    describe_trino_refusal,
    is_of_the_data,
    is_of_the_statement,
)

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult

# what dbt itself says of the project: its files, Jinja and variables
_OF_THE_PROJECT = re.compile(r"\s*(?:Compilation|Parsing|Dependency|Env var|Dbt project|Selector|Usage) Error\b", re.I)
_FIRST_WORDS = re.compile(r"\s*(?P<kind>[A-Z][a-z]+(?: [A-Z]?[a-z]+)? Error)\b")
_PYTHON = re.compile(
    r"Python model failed:.*File \"[^\"\n]*[/\\]tmp\w+\.py\", line (?P<line>\d+).*"
    r"\n\s*(?P<error>[A-Za-z_][\w.]*)(?::|\s*$)",
    re.DOTALL,
)
# Python's errors of what is around a model: the same code may run the next time
_MAY_PASS = re.compile(r"(?:\w+\.)*(?:\w*(?:Connection|Timeout|IO)\w*|OSError|MemoryError|BlockingIOError)$")
_POINTED = re.compile(r"^\s*LINE \d+: (?P<line>[^\n]+)", re.MULTILINE)
_QUOTED = re.compile(r'"(?P<name>[^"\n]+)"')
# texts of dbt's own reader of CSV files, and what they mean
_OF_SEEDS = {
    "a callable raised a StopIteration exception": "is empty: a seed's first line has the names of its columns",
    "CSV contains a field longer than the maximum length": "has a value of over 131,072 characters",
}
_TESTS = frozenset({"test", "unit_test"})
#: The states of what is done and may be built upon.
PASSED = frozenset({"pass", "success", "no-op"})
#: The states of what is not done; of the second, some batches are.
BROKEN = frozenset({"error", "partial success"})


@dataclass(frozen=True)
class TestOutcome:
    """
    What a test has found.

    :param kind: what it tests: ``not_null``, ``unit_test``; its name where it is one of its own.
    :param nodes: the ids of the models and sources that it is about.
    :param failed: the number of rows that fail.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    column: str | None
    passed: bool
    severity: str
    failed: int

    __test__ = False  # pytest would take it for one of its own


def outcomes_of(results: Sequence[NodeResult]) -> tuple[TestOutcome, ...]:
    """Return what the tests among dbt's results have found."""
    return tuple(
        TestOutcome(
            name=result.node.name,
            kind=getattr(getattr(result.node, "test_metadata", None), "name", None) or str(result.node.resource_type),
            nodes=_about(result.node),
            column=getattr(result.node, "column_name", None),
            passed=str(result.status) in PASSED,
            severity="warn" if str(result.status) == "warn" else "error",
            failed=int(result.failures or 0),
        )
        for result in results
        if result.node.resource_type in _TESTS and str(result.status) in (*PASSED, "warn", "fail")
    )


def _about(node: Any) -> tuple[str, ...]:
    attached = getattr(node, "attached_node", None)
    return (str(attached),) if attached else tuple(node.depends_on_nodes)


def query_of(results: Sequence[NodeResult], unique_id: str) -> str | None:
    """Return the SQL of a model as dbt compiled it; None for a Python model."""
    node = next((result.node for result in results if result.node.unique_id == unique_id), None)
    if node is None or str(getattr(node, "language", "sql")) != "sql":
        return None
    code: str | None = getattr(node, "compiled_code", None)
    return code


def judge(table: str, results: Sequence[NodeResult], outcome: str) -> tuple[int, tuple[str, ...]]:
    """Return how many tests passed and which warn."""
    broken = [result for result in results if str(result.status) in BROKEN]
    if broken:
        raise _error(table, broken)
    failed = [f"{result.node.name} ({result.failures} rows)" for result in results if str(result.status) == "fail"]
    if failed:
        message = f"{table}: {len(failed)} dbt tests failed, so {outcome}: {', '.join(failed)}."
        raise QualityCheckError(message, outcomes=outcomes_of(results))
    warnings = tuple(
        f"{result.node.name} ({result.failures} rows)" for result in results if str(result.status) == "warn"
    )
    passed = sum(result.node.resource_type in _TESTS and str(result.status) in PASSED for result in results)
    return passed, warnings


def _error(table: str, broken: Sequence[NodeResult]) -> PhloError:
    texts = [str(result.message) for result in broken]
    said = "; ".join(f"{result.node.name}{_failed_batches(result)}: {_describe_result(result)}" for result in broken)
    if any(map(_is_of_the_project, texts)):
        return ConfigurationError(f"{table} was not built. {said}")
    if not all(map(may_pass_again, texts)):
        return ConfigurationError(f"{table} was not built. {said}. The same rows fail again: {_advice(broken)}.")
    return TransientError(f"{table} was not built. {said}")


def _advice(broken: Sequence[NodeResult]) -> str:
    files = [result.node.original_file_path for result in broken if str(result.node.resource_type) == "seed"]
    if len(files) == len(broken):
        return f"correct {', '.join(files)}, or the seed's column_types"
    return "correct them at their source, or let the SQL take them (try_cast, try, a filter)"


def _describe_result(result: NodeResult) -> str:
    """Return what failed, and where the SQL is that the engine was given, which people read without its values."""
    node, text = result.node, str(result.message)
    code = getattr(node, "compiled_code", None) or ""
    path = getattr(node, "compiled_path", None)
    if found := _PYTHON.search(text):
        return f"the Python model raised {found['error']} (line {found['line']} of {path})"
    of_seed = next((meaning for known, meaning in _OF_SEEDS.items() if known in text), None)
    if of_seed and str(node.resource_type) == "seed":
        return f"{node.original_file_path} {of_seed}"
    said = describe(text, code)
    if not path or _OF_THE_PROJECT.match(text):
        return said
    line = _line(text, code)
    return f"{said} ({f'line {line} of ' if line else ''}{path})"


def _fails_again_in_python(text: str) -> bool:
    found = _PYTHON.search(text)
    return found is not None and not _MAY_PASS.match(found["error"])


def _line(text: str, code: str) -> int | None:
    """Return the line of a statement that an engine's error is about, if it says so or names what only one line has."""
    if pointed := _POINTED.search(text):
        named = pointed["line"].strip().strip(".")
    elif quoted := _QUOTED.search(text):
        named = quoted["name"]
    else:
        return None
    found = [number for number, line in enumerate(code.splitlines(), 1) if named in line]
    return found[0] if len(found) == 1 else None


def may_pass_again(text: str) -> bool:
    """Return whether what dbt reports might not happen again with the same SQL and the same data."""
    return not _is_of_the_project(text) and not is_of_the_data(text)


def _is_of_the_project(text: str) -> bool:
    of_sql = is_of_the_statement(text) or describe_trino_refusal(text) is not None
    of_files = "Compilation Error" in text or any(known in text for known in _OF_SEEDS)
    return of_files or of_sql or _fails_again_in_python(text)


def _failed_batches(result: NodeResult) -> str:
    """Return which batches of a microbatch model failed; nothing for other nodes."""
    found = getattr(result, "batch_results", None)
    if found is None or not found.failed:
        return ""
    count = len(found.failed) + len(found.successful)
    return f" ({len(found.failed)} of {count} batches failed, the first is that of {found.failed[0][0]:%Y-%m-%d %H:%M})"


def describe(text: str, statement: str = "") -> str:
    """Return what dbt says without a value of the data; dbt passes on the engine's own text."""
    if _OF_THE_PROJECT.match(text):
        return text.strip()
    described = describe_duckdb(text, statement) or describe_trino(text, statement) or describe_trino_refusal(text)
    if described:
        return described
    first = _FIRST_WORDS.match(text)
    return f"{first['kind'] if first else 'dbt failed'}; the rest is left out, as it may quote the data"
