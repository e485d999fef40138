"""How people say times, shares and amounts, and their charts."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.cli.terminal import charts, styles, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0.00 s"),
        (0.419, "0.42 s"),
        (0.996, "1.0 s"),
        (3.14, "3.1 s"),
        (59.96, "1 min 0 s"),
        (252, "4 min 12 s"),
        (3599.6, "1 h 0 min"),
        (7_500, "2 h 5 min"),
    ],
)
def test_running_times(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"), [(None, ""), (0, "0 %"), (0.973, "97.3 %"), (0.99999, "99.9 %"), (1, "100 %")]
)
def test_shares(fraction: float | None, text: str) -> None:
    assert words.percent(fraction) == text


def test_bars_are_as_long_as_their_values_and_the_least_can_be_seen() -> None:
    assert charts.bars([0, 1, 4, 8, 0.001], 2) == ["", "▎", "█", "██", "▏"]
    assert charts.bars([0, 0], 5) == ["", ""]
    assert charts.bars([], 5) == []


def test_colours_are_shown_by_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert styles.has_colours(Terminal())  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not styles.has_colours(Terminal())  # type: ignore[arg-type]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not styles.has_colours(Terminal())  # type: ignore[arg-type]
    assert styles.paint("x", "red", shown=False) == "x"
    assert styles.paint("x", "red", shown=True) == "\x1b[31mx\x1b[0m"
