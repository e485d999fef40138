"""What is wrong with the rows of a batch, as data: never with a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_phlo.exceptions import ValidationError

SAMPLE_ROWS = 10


@dataclass(frozen=True)
class Failure:
    """
    Rows that break one rule.

    :param column: empty if the rule is about whole rows.
    :param rows: their positions in the batch, ascending; None if the rule is about the batch as a whole.
    """

    column: str
    check: str
    rows: tuple[int, ...] | None


@dataclass(frozen=True)
class FailureCount:
    """
    How many rows of all batches break one rule.

    :param count: how many rows; None if the rule is about a batch as a whole.
    :param positions: of the first few of them, counted from the first row that the source yielded.
    """

    column: str
    check: str
    count: int | None
    positions: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f"column {self.column!r}" if self.column else "whole rows"
        if self.count is None:
            return f"{where}: check {self.check} fails for the batch as a whole"
        sample = ", ".join(map(str, self.positions)) + (", …" if self.count > len(self.positions) else "")
        return f"{where}: check {self.check} fails for {self.count} row(s), at positions {sample}"


def bad_rows(failures: Iterable[Failure]) -> list[int]:
    """Return the positions of all rows that break a rule, ascending."""
    return sorted({row for failure in failures for row in failure.rows or ()})


def count_failures(failures: Iterable[tuple[int, Failure]], known: Iterable[FailureCount] = ()) -> list[FailureCount]:
    """
    Add up the failures of several batches.

    :param failures: each with the position of its batch's first row.
    :param known: the counts so far.
    """
    totals = {(each.column, each.check): each for each in known}
    for offset, failure in failures:
        rule = (failure.column, failure.check)
        so_far = totals.get(rule, FailureCount(*rule, 0))
        if failure.rows is None or so_far.count is None:
            totals[rule] = FailureCount(*rule, None)
            continue
        sample = (*so_far.positions, *(row + offset for row in failure.rows[:SAMPLE_ROWS]))[:SAMPLE_ROWS]
        totals[rule] = FailureCount(*rule, so_far.count + len(failure.rows), sample)
    return list(totals.values())


def raise_for_failures(failures: Sequence[FailureCount], table: str, bad: int) -> None:
    """
    Raise one error that names column, check, count and sample positions of every failure; do nothing without one.

    :param bad: how many rows are bad.
    :raises ValidationError: if there are failures.
    """
    if not failures:
        return
    # a rule about the batch as a whole does not say which rows to set aside
    can_go_on = all(failure.count is not None for failure in failures)
    quarantine = ", or set strict_validation=False to quarantine such rows" if can_go_on else ""
    raise ValidationError(
        f"{table}: {bad} row(s) break the validation schema; nothing was merged.\n  "
        + "\n  ".join(map(str, failures))
        + f"\nFix the source or the schema{quarantine}.",
        failures,
    )
