"""``phlo logs`` where no Airflow answers: the files of the project's home."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_phlo.cli import main as cli
from tests.unit.cli.pseudo_terminal import shown_by_terminal

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    monkeypatch.delenv("PHLO_AIRFLOW_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(home: Path, task: str, *messages: dict[str, Any] | bytes, dag: str = "d") -> None:
    path = home / "logs" / f"dag_id={dag}" / "run_id=r" / f"task_id={task}" / "attempt=1.log"
    path.parent.mkdir(parents=True)
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    path.write_bytes(b"\n".join(lines) + b"\n")


def message(minutes: float, text: str, **fields: Any) -> dict[str, Any]:
    at = (NOW - dt.timedelta(minutes=minutes)).isoformat()
    return {"timestamp": at, "level": "info", "event": text, **fields}


def test_files_are_shown_and_that_they_are_files_is_said(home: Path, run_phlo: Any) -> None:
    write(home, "user_events.merge", message(5, "merged"), message(3, "warned", level="warning"))
    write(home, "other", message(90, "long ago"), message(4, "between"))
    code, out, err = run_phlo("logs")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()] == ["merged", "between", "warned"]
    assert err.startswith("No Airflow is known here: ")
    assert err.rstrip().endswith(f"These are the files in {home / 'logs'}.")
    assert "long ago" in run_phlo("logs", "--since", "1d")[1]
    assert run_phlo("logs", "--asset", "raw.user_events", "--level", "warning")[1].count("\n") == 1
    rows = [json.loads(line) for line in run_phlo("logs", "--run", "r", "--output", "json")[1].splitlines()]
    assert [row["text"] for row in rows] == ["long ago", "merged", "between", "warned"]


@pytest.fixture
def tasks(home: Path) -> None:
    for task in ("user_events.merge", "outer.sessions.merge", "models.bronze.stg_user_events", "fetch"):
        write(home, task, message(5, task))
    write(home, "models.silver.user_events", message(4, "model"), dag="e")
    write(home, "models.staging.orders", message(4, "orders"), dag="e")


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        ("raw.user_events", {"user_events.merge"}),
        ("raw.sessions", {"outer.sessions.merge"}),
        ("sessions", {"outer.sessions.merge"}),
        ("stg_user_events", {"models.bronze.stg_user_events"}),
        ("bronze.stg_user_events", {"models.bronze.stg_user_events"}),
        ("silver.user_events", {"model"}),
        ("orders", {"orders"}),
        ("fetch", {"fetch"}),
    ],
)
@pytest.mark.usefixtures("tasks")
def test_files_of_an_asset_are_those_of_tasks_called_like_it(run_phlo: Any, asset: str, expected: set[str]) -> None:
    code, out, _ = run_phlo("logs", "--asset", asset, "-o", "json")
    assert code == 0
    assert {json.loads(line)["text"] for line in out.splitlines()} == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--asset", "raw.nosuch"], "No log file is of a task that is called like raw.nosuch"),
        (["--asset", "raw.user_event"], "Did you mean user_events"),
        (["--asset", "user_events"], "Name NAMESPACE.user_events or silver.user_events, or start"),
        # the folder of the model is not the namespace: it may be another table
        (["--asset", "bronze.orders"], "do not say which tasks make bronze.orders: e/models.staging.orders"),
        (["--asset", "raw.user_events", "--dag", "e"], "DAG e does not make raw.user_events. It is made by d."),
        (["--dag", "nosuch"], "There are no log files of a DAG nosuch. DAGs: d, e."),
        (["--run", "nope"], "There are no log files of a run nope. The newest runs: r."),
    ],
)
@pytest.mark.usefixtures("tasks")
def test_names_that_have_no_files_are_refused(run_phlo: Any, arguments: list[str], said: str) -> None:
    code, out, err = run_phlo("logs", *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_an_airflow_that_was_named_is_not_replaced_by_files(home: Path, run_phlo: Any) -> None:
    write(home, "t", message(1, "here"))
    code, out, err = run_phlo("logs", "--api-url", "http://127.0.0.1:9")
    assert (code, out) == (2, "")
    assert "127.0.0.1:9" in err


def test_nothing_to_read_is_an_error(home: Path, run_phlo: Any) -> None:
    code, out, err = run_phlo("logs")
    assert (code, out) == (2, "")
    assert err.startswith("phlo logs: No Airflow is known here")


@pytest.mark.parametrize("columns", [40, 120])
def test_on_a_terminal(home: Path, columns: int) -> None:
    """Colours, no control characters of others, and whose lines they are on lines of their own where it is narrow."""
    write(home, "t", message(2, "\x1b]0;title\x07\x1b[31mred\x1b[0m\ttab"), message(1, "two\nlines", level="error"))
    shown = shown_by_terminal([str(Path(sys.executable).with_name("phlo")), "logs"], columns)
    assert "\x1b]0" not in shown
    assert "·]0;title·red" in shown
    assert "\x1b[31mtwo\x1b[0m" in shown
    own = [line for line in shown.splitlines() if "d/t" in line]
    assert len(own) == (1 if columns == 40 else 2)
    assert all(("red" in line or "two" in line) == (columns == 120) for line in own)


def test_head_ends_it_silently(home: Path) -> None:
    write(home, "t", *(message(5, f"line {number} {'x' * 100}") for number in range(5000)))
    phlo = Path(sys.executable).with_name("phlo")
    script = f"{phlo} logs 2>err | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=home, capture_output=True, text=True, check=True)
    assert "line 0" in done.stdout
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert "Traceback" not in (home / "err").read_text()


@pytest.mark.parametrize("since", ["5", "-1h", "h", "1y", "999999999d", "2024-13-01", ""])
def test_times_that_make_no_sense(since: str, run_phlo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli._parser().parse_args(["logs", f"--since={since}"])
    assert ended.value.code == 2
    assert "is neither a length of time (30m, 12h, 7d) nor a time" in capsys.readouterr().err
