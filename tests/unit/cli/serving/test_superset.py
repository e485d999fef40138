"""``phlo superset``: what is refused before Superset is asked. The rest is in tests/bi, on a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[4] / "include" / "superset"
# nothing listens there
URL = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("words", "password", "says"),
    [
        (["import", "--keep", "--overwrite"], "pw", "choose one"),
        (["import"], "", "PHLO_SUPERSET_PASSWORD"),
        (["diff"], "", "PHLO_SUPERSET_PASSWORD"),
        (["export", "--dashboard", "x"], "", "PHLO_SUPERSET_PASSWORD"),
        (["import", "--folder", "nowhere"], "pw", "no assets of Superset"),
        (["export", "--folder", "nowhere"], "pw", "no assets of Superset"),
        (["import", "--url", "superset:8088"], "pw", "address of Superset"),
        (["import", "--database-uri", "postgresql://me:hidden@db/marts"], "pw", "password out of"),
    ],
)
def test_what_cannot_be_is_refused(
    run_phlo: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], password: str, says: str
) -> None:
    monkeypatch.setenv("PHLO_SUPERSET_PASSWORD", password)
    given = [command := words[0], "--url", URL, "--folder", str(FOLDER), *words[1:]]
    code, out, err = run_phlo("superset", *given)
    assert (code, out) == (2, ""), command
    assert says in err
    assert "hidden" not in err


def test_a_superset_that_does_not_answer(run_phlo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_SUPERSET_PASSWORD", "pw")
    code, _, err = run_phlo("superset", "import", "--url", URL, "--folder", str(FOLDER))
    assert code == 1
    assert "is it up" in err
