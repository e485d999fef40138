"""``phlo catalog …`` and ``phlo maintenance …``."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import FAILED, REFUSED
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.run_branches import STATE_PROPERTY
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect
from tests.lake import open_lake
from tests.patience import PATIENCE

TABLE = "raw.readings"
SCHEMA = pa.schema([("k", pa.int64()), ("day", pa.string())])


def fill(home: Path) -> None:
    catalog = open_lake(home)
    for name in (TABLE, "marts.daily"):
        ensure_table(catalog, name, arrow_to_iceberg(SCHEMA), partition_by=("day",), sort_by=("k desc",))
    for number, token in enumerate(("one", "two", "three", "failed")):
        rows = pa.table({"k": [number], "day": ["2024-01-15"]}, schema=SCHEMA)
        summary = {"phlo.run-id": f"manual__{token}"}
        merged = merge(
            catalog, TABLE, rows, MergePlan(key=("k",)), token=token, partition_date="2024-01-15", summary=summary
        )
        if token != "failed":
            state = {STATE_PROPERTY: token}
            branch = branches.branch_name(token)
            branches.move_main(
                catalog, TABLE, branch, token=token, result={}, properties=state, expected_head=merged.head
            )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def phlo(home: Path, run_phlo: Any) -> Any:
    return run_phlo


def listed(phlo: Any, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = phlo(*arguments, "--output", "json")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def test_tables(phlo: Any) -> None:
    found = listed(phlo, "catalog", "tables")
    assert [(row["table"], row["rows"], row["files"]) for row in found] == [("marts.daily", 0, 0), (TABLE, 3, 3)]
    assert [row["table"] for row in listed(phlo, "catalog", "tables", "--schema", "raw")] == [TABLE]


def test_describe_takes_the_default_namespace(phlo: Any, home: Path) -> None:
    facts = {row["property"]: row["value"] for row in listed(phlo, "catalog", "describe", "readings")}
    assert facts["location"] == f"file://{home}/warehouse/raw/readings"
    expect(facts, partitioning=["identity(day)"], sorted_by=["k desc"])
    assert facts["columns"] == {"k": "long", "day": "string"}
    assert facts["rows"] == 3
    assert facts["bytes"] > 0


def test_history(phlo: Any) -> None:
    found = listed(phlo, "catalog", "history", TABLE)
    assert [(row["run_id"], row["state"], row["inserted"], row["partition_date"]) for row in found] == [
        ("manual__three", "current", 1, "2024-01-15"),
        ("manual__two", "", 1, "2024-01-15"),
        ("manual__one", "", 1, "2024-01-15"),
    ]
    assert len(listed(phlo, "catalog", "history", TABLE, "--limit", "2")) == 2
    assert listed(phlo, "catalog", "history", TABLE, "--branch", "phlo_failed")[0]["run_id"] == "manual__failed"
    _, out, _ = phlo("catalog", "history", TABLE)
    assert "Branches of runs that did not publish:\nbranch" in out
    assert "manual__failed" in out


def test_branches(phlo: Any) -> None:
    (row,) = listed(phlo, "catalog", "branches", TABLE)
    expect(row, branch="phlo_failed", run_id="manual__failed", rows=1, snapshots=1)


def test_rollback_says_first_and_does_then(phlo: Any, home: Path) -> None:
    one = str(listed(phlo, "catalog", "history", TABLE)[2]["snapshot_id"])
    code, out, _ = phlo("catalog", "rollback", TABLE, "--to-snapshot", one)
    assert code == 0
    assert "would count as not done: three, two" in out
    assert "would be set back too" in out
    assert "add --yes" in out
    assert listed(phlo, "catalog", "tables", "--schema", "raw")[0]["rows"] == 3
    code, out, err = phlo("catalog", "rollback", TABLE, "--to-snapshot", one, "--yes", "-o", "json")
    assert [row["run_id"] for row in json.loads(out)] == ["manual__three", "manual__two"]
    assert "count as not done: three, two" in err
    table = open_lake(home).load_table(TABLE)
    assert (branch_head(table), table.properties[STATE_PROPERTY]) == (int(one), "one")
    states = {row["run_id"]: row["state"] for row in listed(phlo, "catalog", "history", TABLE)}
    assert states == {"manual__three": "undone", "manual__two": "undone", "manual__one": "current"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("catalog", "history", "raw.nope"), FAILED, "raw.nope does not exist"),
        (("catalog", "describe", "raw.x/y"), FAILED, "not a table name"),
        (("catalog", "history", TABLE, "--branch", "nope"), REFUSED, "no branch nope"),
        (("catalog", "rollback", TABLE, "--to-snapshot", "7", "--yes"), REFUSED, "no snapshot 7"),
        (("catalog", "rollback", TABLE, "--to-time", "2024-01-15"), REFUSED, "ambiguous"),
        (("maintenance", "run", "raw.nope"), REFUSED, "No table is named raw.nope"),
        (("maintenance", "run", TABLE, "--orphan-days", "0"), REFUSED, "running writer"),
        (("maintenance", "run", TABLE, "--jobs", "vacuum"), REFUSED, "name some of compaction"),
        (("maintenance", "run", TABLE, "--keep-last", "0"), REFUSED, "keep_last"),
    ],
)
def test_errors_say_what_and_end_with_a_code(phlo: Any, arguments: tuple[str, ...], code: int, message: str) -> None:
    ended, out, err = phlo(*arguments)
    assert (ended, out) == (code, "")
    assert message in err


def amounts(rows: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    return {(row["job"], row["what"]): row["amount"] for row in rows if row["table"] == TABLE}


def test_maintenance_plans_and_runs(phlo: Any) -> None:
    planned = amounts(listed(phlo, "maintenance", "plan", "raw.*", "marts.daily"))
    assert (planned["compaction", "files"], planned["compaction", "files_after"]) == (3, 1)
    assert planned["orphans", "files"] == 0
    assert listed(phlo, "catalog", "tables", "--schema", "raw")[0]["files"] == 3
    eager = ("--snapshot-days", "0", "--keep-last", "1", "--jobs", "compaction,expiry", "--force")
    done = amounts(listed(phlo, "maintenance", "run", "readings", *eager))
    assert (done["compaction", "files_after"], done["expiry", "snapshots"]) == (1, 2)  # the branch needs the third
    assert ("orphans", "files") not in done
    found = listed(phlo, "catalog", "history", TABLE)
    expect(found[0], operation="replace", strategy="compaction")
    assert listed(phlo, "catalog", "tables", "--schema", "raw")[0]["files"] == 1


def test_busy_tables_are_reported_with_1(phlo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_phlo.exceptions import CommitConflictError
    from airflow_provider_phlo.iceberg.maintenance import planning

    def busy(*_: Any, **__: Any) -> None:
        raise CommitConflictError("other writers won")

    monkeypatch.setattr(planning, "run", busy)
    code, _, err = phlo("maintenance", "run", TABLE)
    assert code == FAILED
    assert "other writers won" in err


# --- the installed programs -------------------------------------------------------------------------------------------


def program(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run an installed program as a user without any Airflow set up would."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment = {**clean, "PHLO_HOME": str(home), "HOME": str(home / "nobody")}
    path = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [path, *command[1:]], env=environment, cwd=home, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.long
@pytest.mark.parametrize("prefix", [("phlo",), ("airflow", "phlo")])
def test_both_programs(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    fill(tmp_path)
    done = program(tmp_path, *prefix, "catalog", "history", TABLE, "--limit", "1", "-o", "json")
    assert [row["run_id"] for row in json.loads(done.stdout)] == ["manual__three"], done.stderr
    done = program(tmp_path, *prefix, "maintenance", "plan", "raw.*", "--orphan-days", "0")
    assert (done.returncode, done.stdout) == (REFUSED, ""), done.stderr
    assert "running writer" in done.stderr


@pytest.mark.parametrize("group", ["catalog", "maintenance"])
def test_a_group_alone_lists_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([group, "--help"])
    assert ended.value.code == 0
    assert {"catalog": "rollback", "maintenance": "plan"}[group] in capsys.readouterr().out


# --- for people -------------------------------------------------------------------------------------------------------

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (words.size(492_583), "481 KB"),
        (words.size(0), "0 bytes"),
        (words.size(1_048_576), "1.0 MB"),
        (words.size(1023 * 1024), "1.0 MB"),
        (words.size(5 * 1024**4), "5.0 TB"),
        (words.ago(NOW - datetime.timedelta(minutes=12), NOW), "12 minutes ago"),
        (words.ago(NOW - datetime.timedelta(seconds=59), NOW), "just now"),
        (words.ago(NOW - datetime.timedelta(hours=1, minutes=59), NOW), "1 hour ago"),
        (words.ago(NOW - datetime.timedelta(days=2), NOW), "2 days ago"),
        (words.ago(NOW - datetime.timedelta(days=40), NOW), "2026-10-18"),
        (words.partitioning([]), "not partitioned"),
        (words.partitioning([("identity", "_phlo_partition_date")]), "by day of the run"),
        (words.partitioning([("day", "at"), ("bucket[16]", "k")]), "by day of at and into 16 buckets of k"),
        (words.partitioning([("identity", "region"), ("truncate[10]", "k")]), "by region and by k cut to 10"),
        (words.partitioning([("void", "old")]), "not partitioned"),
        (words.sorting([("k", "desc"), ("at", "asc")]), "by k (descending), then at"),
        (words.counted({"updated": 0, "unchanged": 2, "inserted": 8643}), "8,643 inserted"),
    ],
)
def test_case_64_words(said: str, wanted: str) -> None:
    assert said == wanted


def test_case_64_describe_for_people(phlo: Any) -> None:
    code, out, _ = phlo("catalog", "describe", TABLE)
    assert code == 0
    lines = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    expect(lines, rows="3", modified="just now", partitions="by day", day="string", k="long")
    assert re.fullmatch(r"\d[\d.]* KB in 3 files", lines["size"])
    assert lines["sort order"] == "by k (descending)"
    assert re.fullmatch(
        r"merge: 1 inserted, for 2024-01-15 by manual__three \(snapshot \d+, just now\)", lines["last change"]
    )
    assert not re.search(r"identity|NULL|\[|\{", out)
    code, out, _ = phlo("catalog", "describe", "marts.daily")
    assert "nothing was published yet" in out


def test_case_64_history_for_people(phlo: Any) -> None:
    _, out, _ = phlo("catalog", "history", TABLE)
    first = out.splitlines()[2]
    assert re.match(r"just now  merge: 1 inserted \(current\)  2024-01-15 +3  manual__three +\d+$", first)
    assert "NULL" not in out.partition("\nBranches")[0]
    _, out, _ = phlo("catalog", "tables")
    assert re.search(r"^raw\.readings +3 +3 +\d[\d.]* KB  just now$", out, re.MULTILINE)
