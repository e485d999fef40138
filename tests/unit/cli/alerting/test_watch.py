"""``phlo watch``, as people type it."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.quality.freshness import POLICY_PROPERTY, FreshnessPolicy, TablePolicy
from tests.lake import create_table

RULES = """
destinations: {team: {arguments: {url: "http://127.0.0.1:9/"}}}
rules: [{name: old, kind: freshness, to: [team]}]
"""


@pytest.fixture
def phlo(home, tmp_path, monkeypatch, capsys):
    """Return a function that runs ``phlo watch`` in a project and returns its exit code, stdout and stderr."""
    (tmp_path / "include" / "alerting").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = 0
        try:
            cli.main(["watch", *words])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def declare(catalog, name, hours):
    with create_table(catalog, name, pa.table({"k": [1]})).transaction() as change:
        change.set_properties({POLICY_PROPERTY: TablePolicy(FreshnessPolicy(hours, hours), "site").to_json()})


def test_what_is_wrong_is_printed_and_is_the_exit_code(phlo, catalog):
    declare(catalog, "raw.young", 24)
    assert phlo("--dry-run")[0] == 0
    declare(catalog, "raw.old", 1e-9)
    code, out, _ = phlo("--dry-run")
    assert code == 1
    assert "raw.old" in out
    assert "raw.young" not in out
    assert "1 thing wrong" in out
    code, out, _ = phlo("--dry-run", "--all", "--output", "json")
    said = json.loads(out)
    assert (code, said["wrong"], said["recorded"]) == (1, 1, 0)
    assert [(each["table"], each["passed"], each["group"]) for each in said["verdicts"]] == [
        ("raw.old", False, "site"),
        ("raw.young", True, "site"),
    ]


def test_a_dry_run_shows_what_would_be_sent(phlo, catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    (tmp_path / "include" / "alerting" / "config.yaml").write_text(RULES)
    declare(catalog, "raw.old", 1e-9)
    code, out, _ = phlo("--dry-run", "--output", "json")
    [message] = json.loads(out)["messages"]
    assert code == 1
    assert "raw.old" in message
    assert not catalog.table_exists("phlo.incidents")


def test_rules_that_are_wrong_are_refused(phlo, catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    (tmp_path / "include" / "alerting" / "config.yaml").write_text("rulez: []\n")
    code, _, err = phlo("--dry-run")
    assert code == 2
    assert "rulez" in err
