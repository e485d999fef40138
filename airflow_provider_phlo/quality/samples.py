"""Name the rows that fail a check by their keys: a few of them, and never a value of a pii column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.quality.base import RowCheck
from airflow_provider_phlo.quality.engines import EvaluationError
from airflow_provider_phlo.quality.results import QualityCheckResult, plain
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.scan import Rows

LONGEST = 60  # characters of a value


def with_samples(rows: Rows, check: RowCheck, result: QualityCheckResult) -> QualityCheckResult:
    """
    Return ``result`` with the keys of failing rows, of which the first are taken in the order of the keys.

    It stays as it is where no row failed, no key is known, or a column of the key is ``pii``.
    """
    names = check.sample_columns(rows)
    if result.passed or not result.failed or check.samples < 1 or not names:
        return result
    if rows.pii.intersection(names) or not set(names) <= rows.columns.keys():
        return result
    try:
        found = _keys(rows, check, names)
    except EvaluationError:  # keys that cannot be ordered: what failed is known all the same
        return result
    samples = tuple(
        {name: _shown(value, rows.columns[name]) for name, value in zip(names, key, strict=True)} for key in found
    )
    return replace(result, samples=samples, message=f"{result.message}; for example {', '.join(map(_words, samples))}")


def _keys(rows: Rows, check: RowCheck, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    failing, quoted = check.failing(rows), [quote_identifier(name) for name in names]
    order = ", ".join(f"{name} NULLS LAST" for name in quoted)
    return rows.fetch(
        f"SELECT {', '.join(quoted)} FROM (SELECT * FROM {rows.source}) AS t {failing.sql} "  # noqa: S608 - quoted
        f"ORDER BY {order} LIMIT {int(check.samples)}",
        [*rows.parameters, *failing.parameters],
    )


def _words(sample: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {'NULL' if value is None else value}" for name, value in sample.items())


def _shown(value: Any, kind: str) -> Any:
    value = plain(value)
    if isinstance(value, float):
        # as text that both engines give: -0.0 is the same key as 0.0, and a FLOAT has six digits
        return float(f"{value:.6g}") if kind == "FLOAT" else value + 0.0
    text = value if isinstance(value, str) else ""
    return f"{text[:LONGEST]}…" if len(text) > LONGEST else value
