"""What differs between two versions of a contract, whom it breaks, and how far the version has to move."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.changes import compare, problem_of_version
from airflow_provider_phlo.contracts.versions import Step, parse_version, step_between
from tests.unit.contracts.forms.test_reading import ODCS, SHORT

# its second column may have any value
FREE = SHORT.replace("{min: 20, max: 600}", "{}")
BREAKING, MORE, TEXT = Step.MAJOR, Step.MINOR, Step.PATCH
# what is replaced in a contract, by what, what that is, and how far it goes; backwards it goes the other way
CHANGES = [
    (SHORT, "type: long", "type: int32", "type", MORE, BREAKING),
    (FREE, "type: long", "type: string", "type", BREAKING, BREAKING),
    (FREE.replace("type: long", "type: date").replace("{}", "{min: 2020-01-01}"), "2020-01-01", "'2020-01-01'",
     None, None, None),
    (SHORT, "type: long", "type: number", "type", BREAKING, MORE),
    (SHORT, "type: long", "type: bigint", None, None, None),
    (SHORT, "type: long", "type: int", "type", MORE, BREAKING),
    (SHORT, "type: long", "type: double", "type", BREAKING, BREAKING),
    *(
        (FREE.replace("type: long", f'type: "{old}"'), f'type: "{old}"', f'type: "{new}"', "type", step, back)
        for old, new, step, back in (
            ("double", "float", MORE, BREAKING),
            ("list<long>", "list<int>", MORE, BREAKING),
            ("list<int>", "list<string>", BREAKING, BREAKING),
            ("list<int>", "list", BREAKING, MORE),
            ("struct<a:int>", "struct<a:int,b:int>", MORE, BREAKING),
            ("struct<a:int>", "struct<a:string>", BREAKING, BREAKING),
            ("map<string,int>", "map<string,string>", BREAKING, BREAKING),
            ("map<string,int>", "map<string,long>", BREAKING, MORE),
        )
    ),
    (SHORT.replace("min: 20, max: 600", "").replace("type: long", "type: varchar(10)"), "varchar(10)", "varchar(20)",
     "type", BREAKING, MORE),
    (SHORT, "required: true, ", "", "required", BREAKING, MORE),
    (SHORT, "unique: true, ", "", "unique", BREAKING, MORE),
    (SHORT, "min: 20", "min: 10", "values", BREAKING, MORE),
    (SHORT, "max: 600", "max: 601", "values", BREAKING, MORE),
    (SHORT, "min: 20, ", "", "values", BREAKING, MORE),
    (SHORT, "min_length: 1", "min_length: 0", "lengths", BREAKING, MORE),
    (SHORT, '"[a-z]+"', '"[a-z0-9]+"', "pattern", BREAKING, BREAKING),
    (SHORT, ', pattern: "[a-z]+"', "", "pattern", BREAKING, MORE),
    (SHORT, "[sgv, mbg]", "[sgv, mbg, cal]", "allowed values", BREAKING, MORE),
    (SHORT, "    - name: kind\n      constraints: {allowed_values: [sgv, mbg]}\n", "", "column", BREAKING, MORE),
    (SHORT, "table: raw.readings", "table: raw.other", "table", BREAKING, BREAKING),
    (SHORT, "freshness_hours: 2", "freshness_hours: 3", "freshness", BREAKING, MORE),
    (SHORT, "quality_threshold: 0.99", "quality_threshold: 0.9", "quality", BREAKING, MORE),
    (SHORT, "freshness_hours: 2, ", "", "freshness", BREAKING, MORE),
    (SHORT, "pii: true", "pii: false", "description", TEXT, TEXT),
    (SHORT, "owner: data-platform", "owner: others", "owner", TEXT, TEXT),
    (SHORT, "usage: Daily", "usage: Weekly", None, None, None),
    (ODCS, "exclusiveMaximum: 100000", "maximum: 100000", "values", BREAKING, MORE),
    (ODCS, "mustBeGreaterThan: 0", "mustBeGreaterThan: 1", "rule", BREAKING, BREAKING),
    (ODCS, "mustBe: 0, severity: warning", "mustBe: 1, severity: warning", "rule", MORE, MORE),
    (ODCS, "name: there are orders", "name: orders are there", None, None, None),
    (ODCS, "primaryKey: true", "required: true", "primary key", BREAKING, MORE),
    (ODCS, "partitioned: true", "partitioned: false", "partitioning", MORE, MORE),
    (ODCS, "value: 24, unit: h", "value: 1, unit: d", None, None, None),
    (ODCS, "value: 24, unit: h", "value: 2, unit: d", "freshness", BREAKING, MORE),
    (ODCS, "logicalType: string, required: true}", "logicalType: string}", "required", BREAKING, MORE),
    (ODCS, "server: production", "server: other", None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "old", "new", "what", "step", "back"), CHANGES)
def test_a_change_is_judged_as_its_readers_see_it(
    tmp_path: Path, text: str, old: str, new: str, what: str | None, step: Step | None, back: Step | None
) -> None:
    assert old in text
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace(old, new, 1))
    before, after = read_contract(tmp_path / "a.yaml"), read_contract(tmp_path / "b.yaml")
    for pair, expected in (((before, after), step), ((after, before), back)):
        changes = compare(*pair)
        assert {change.what for change in changes} == ({what} if what else set())
        assert max((change.step for change in changes), default=None) == expected
        assert bool(problem_of_version(*pair, changes)) is bool(what)  # both have the same version


@pytest.mark.parametrize(
    ("old", "new", "step"),
    [
        ("1.2.3", "2.0.0", BREAKING),
        ("1.2.3", "1.3.0", MORE),
        ("1.2.3", "1.2.4", TEXT),
        ("1.2.3", "1.2.3", Step.NONE),
        ("1.2.3", "1.2.2", Step.NONE),
        ("1.9.0", "1.10.0", MORE),
        ("0.1.0", "0.2.0", BREAKING),
        ("0.1.0", "0.1.1", MORE),
        ("0.9.0", "1.0.0", BREAKING),
        ("1.0.0-rc.1", "1.0.0", TEXT),
        ("v1", "v2", BREAKING),
    ],
)
def test_how_far_a_version_moves(old: str, new: str, step: Step) -> None:
    before, after = parse_version(old), parse_version(new)
    assert before is not None
    assert after is not None
    assert step_between(before, after) is step


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.3.0", "it breaks its readers: 1.2.0 has to become 2.0.0 or later, not 1.3.0"),
        ("1.1.0", "version 1.1.0 comes before 1.2.0"),
        ("2.0.0", ""),
    ],
)
def test_a_version_that_does_not_say_what_has_changed(tmp_path: Path, version: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(SHORT)
    (tmp_path / "b.yaml").write_text(SHORT.replace("1.2.0", version).replace("min: 20", "min: 1"))
    before, after = read_contract(tmp_path / "a.yaml"), read_contract(tmp_path / "b.yaml")
    assert problem_of_version(before, after, compare(before, after)) == said


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_command_names_who_relies_on_it(tmp_path: Path, run_phlo) -> None:
    old, new = tmp_path / "a.yaml", tmp_path / "b.yaml"
    old.write_text(SHORT)
    new.write_text(SHORT)
    assert run_phlo("contract", "diff", str(old), str(new))[0] == 0
    new.write_text(SHORT.replace("max: 600", "max: 700").replace("1.2.0", "1.3.0"))
    code, out, err = run_phlo("contract", "diff", str(old), str(new))
    assert code == 1
    assert "<= 700" in out
    assert "has to become 2.0.0 or later" in err
    assert "dashboard rely on it" in err
    new.write_text(new.read_text().replace("1.3.0", "2.0.0"))
    assert run_phlo("contract", "diff", str(old), str(new))[0] == 0
    assert run_phlo("contract", "diff", str(old))[0] == 2


def test_contracts_are_compared_with_those_of_a_revision(
    tmp_path: Path, run_phlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "repository" / "a project"
    contracts = project / "include" / "contracts"
    contracts.mkdir(parents=True)
    monkeypatch.chdir(project)
    assert run_phlo("contract", "diff", "--git", "main")[0] == 2  # not a repository
    (contracts / "readings.yaml").write_text(SHORT)
    (contracts / "größe.yaml").write_text(SHORT.replace("name: readings", "name: gone"))
    git(tmp_path / "repository", "init", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-m", "x")
    assert run_phlo("contract", "diff", "--git", "main", "--output", "json")[:2] == (0, "[]\n")
    (contracts / "größe.yaml").unlink()
    (contracts / "new.yaml").write_text(ODCS)
    code, out, err = run_phlo("contract", "diff", "--git", "main")
    assert code == 1
    assert "gone is gone, and dashboard rely on it" in err
    assert "orders" in out
    code, _, err = run_phlo("contract", "diff", "--git", "no-such-branch")
    assert (code, "git does not know this revision: name a commit, branch or tag" in err) == (2, True)
    assert run_phlo("contract", "diff", "--git=--output=x")[0] == 2
    assert not (project / "x").exists()


def test_a_file_that_was_wrong_then_does_not_keep_out_its_cure(
    tmp_path: Path, run_phlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    contracts = tmp_path / "include" / "contracts"
    contracts.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (contracts / "kept.yaml").write_text(SHORT.replace("name: readings", "name: kept"))
    (contracts / "readings.yaml").write_text(SHORT.replace("type: long", "type: lnog"))
    git(tmp_path, "init", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    (contracts / "readings.yaml").write_text(SHORT)
    code, out, err = run_phlo("contract", "diff", "--git", "main")
    assert (code, "readings" in out, "kept" in out) == (0, True, False)
    line = SHORT[: SHORT.index("type: long")].count("\n") + 1
    assert f"compared with nothing: include/contracts/readings.yaml at main, line {line}: " in err
    (contracts / "kept.yaml").unlink()  # the others are compared all the same
    assert run_phlo("contract", "diff", "--git", "main")[0] == 1


@pytest.mark.parametrize("linked", ["include/contracts/readings.yaml", "include/contracts/team", "include/contracts"])
def test_contracts_behind_links_are_compared_too(
    tmp_path: Path, run_phlo, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    project, shared = tmp_path / "project", tmp_path / "shared"
    link = project / linked
    link.parent.mkdir(parents=True)
    shared.mkdir()
    (shared / "readings.yaml").write_text(SHORT)
    target = shared / "readings.yaml" if link.suffix else shared
    link.symlink_to(os.path.relpath(target, link.parent))
    monkeypatch.chdir(project)
    git(tmp_path, "init", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    assert run_phlo("contract", "diff", "--git", "main", "--output", "json") == (0, "[]\n", "")
    (shared / "readings.yaml").write_text(SHORT.replace("freshness_hours: 2", "freshness_hours: 20"))
    code, out, _ = run_phlo("contract", "diff", "--git", "main")
    assert (code, "readings" in out) == (1, True), "a breaking change that the version does not show"


def test_a_link_that_led_nowhere_is_named(tmp_path: Path, run_phlo, monkeypatch: pytest.MonkeyPatch) -> None:
    contracts = tmp_path / "include" / "contracts"
    contracts.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name, target in (
        ("gone", "nowhere.yaml"),
        ("outside", "/etc/passwd"),
        ("above", "../../../x.yaml"),
        ("a", "a.yaml"),
    ):
        (contracts / f"{name}.yaml").symlink_to(target)
    git(tmp_path, "init", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    code, _, err = run_phlo("contract", "list")
    assert (code, "There is no contract" in err) == (1, True), "nor is it passed over now"
    for path in contracts.iterdir():
        path.unlink()
    code, _, err = run_phlo("contract", "diff", "--git", "main")
    assert code == 0
    for name in ("gone", "outside", "above", "a"):
        assert f"compared with nothing: There is no contract include/contracts/{name}.yaml at main" in err
    assert "root" not in err
