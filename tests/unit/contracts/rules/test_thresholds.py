"""What messages say of a number and of the number that is promised."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.contracts.rules.rule_checks import found_of
from airflow_provider_phlo.contracts.rules.thresholds import NONE, Threshold

FEW, MANY = Threshold("mustBeLessThan", 5, percent=True), Threshold("mustBeGreaterThan", 5, percent=True)


@pytest.mark.parametrize(
    ("failed", "total", "threshold", "said"),
    [
        (0, 0, NONE, "kept by all 0 rows"),
        (3, 10, NONE, "broken by 3 of 10 rows"),
        (
            3,
            10,
            FEW,
            "broken by 3 of 10 rows (30 %; less than 5 % is promised)",
        ),
        (0, 10, FEW, "kept by all 10 rows (0 %; less than 5 % is promised)"),
        (
            0,
            0,
            MANY,
            "there are no rows, which is 0 % (more than 5 % is promised)",
        ),
        (0, 0, Threshold("mustBe", 2), "kept by all 0 rows (2 is promised)"),
    ],
)
def test_what_was_found_beside_what_is_promised(failed: int, total: int, threshold: Threshold, said: str) -> None:
    assert found_of(failed, total, "rows", threshold) == said
