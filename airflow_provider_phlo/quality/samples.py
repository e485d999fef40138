"""Name some of the rows that fail a check by their keys, and never by a value of a pii column."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.quality.engines import EvaluationError
from airflow_provider_phlo.quality.results import QualityCheckResult, plain
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

LONGEST = 60  # characters of a value that are shown


def add_samples(
    result: QualityCheckResult, rows: RowsUnderCheck, failing: Query, columns: tuple[str, ...], limit: int
) -> QualityCheckResult:
    """
    Return ``result`` with the keys of failing rows: the first ones in the order of the keys.

    The result is returned unchanged if no key is known, or a column of the key is ``pii``.

    :param failing: the SQL that leaves the rows that fail, behind ``FROM`` and the rows.
    :param columns: the key.
    :param limit: how many rows are named at most.
    """
    if not columns or rows.pii.intersection(columns) or not set(columns) <= rows.columns.keys():
        return result
    try:
        keys = _fetch_keys(rows, failing, columns, limit)
    except EvaluationError:  # keys that cannot be ordered: the count of what failed stands all the same
        return result
    samples = tuple(
        {name: _shown(value, rows.columns[name]) for name, value in zip(columns, key, strict=True)} for key in keys
    )
    named = ", ".join(map(_as_words, samples))
    return replace(result, samples=samples, message=f"{result.message}; for example {named}")


def _fetch_keys(rows: RowsUnderCheck, failing: Query, columns: tuple[str, ...], limit: int) -> list[tuple[Any, ...]]:
    quoted = [quote_identifier(name) for name in columns]
    order = ", ".join(f"{name} NULLS LAST" for name in quoted)
    sql = (
        f"SELECT {', '.join(quoted)} FROM (SELECT * FROM {rows.source.sql}) AS t {failing.sql} "  # noqa: S608 - quoted
        f"ORDER BY {order} LIMIT {limit}"
    )
    return rows.fetch(Query(sql, rows.source.parameters + failing.parameters))


def _as_words(sample: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {'NULL' if value is None else value}" for name, value in sample.items())


def _shown(value: Any, kind: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):  # which JSON lacks
        return str(value)
    value = plain(value)
    if isinstance(value, float):
        # the same on both engines: -0.0 is the same key as 0.0, and a FLOAT has six digits
        return float(f"{value:.6g}") if kind == "FLOAT" else value + 0.0
    text = value if isinstance(value, str) else ""
    return f"{text[:LONGEST]}…" if len(text) > LONGEST else value
