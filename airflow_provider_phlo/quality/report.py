"""Results as a table for people who read a log."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_phlo.quality.results import QualityCheckResult, outcome

_HEADER = ("outcome", "check", "failed", "rows", "seconds", "message")
_NUMBERS = (2, 3, 4)


def as_table(results: Sequence[QualityCheckResult], *, failures: bool = True) -> str:
    """
    Return one line per result, in aligned columns.

    :param failures: whether the messages of checks that failed are among them, or follow on lines of their own.
    """
    lines = [_HEADER, *(_cells(result, failures or result.passed) for result in results)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(_HEADER))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _cells(result: QualityCheckResult, with_message: bool) -> tuple[str, ...]:
    return (
        outcome(result),
        result.check_name,
        "" if result.failed is None else f"{result.failed:,}",
        "" if result.row_count is None else f"{result.row_count:,}",
        f"{result.execution_time_seconds:.3f}",
        " ".join(result.message.split()) if with_message else "",
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if index in _NUMBERS else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
