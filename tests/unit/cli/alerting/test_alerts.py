"""``phlo alerts``, as people type it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_phlo.alerts import processing
from airflow_provider_phlo.alerts.rules.reading import read_configuration
from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.watching.recording import Looked, record_changes
from tests.receivers import receiver
from tests.unit.alerts.conftest import verdict


@pytest.fixture
def phlo(home, tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in a project and returns its exit code, stdout and stderr."""
    (tmp_path / "include" / "alerting").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))

    def run(*words):
        code = 0
        try:
            cli.main(["alerts", *words])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def rules(tmp_path, text):
    (tmp_path / "include" / "alerting" / "config.yaml").write_text(text)


RULES = """
destinations:
  team: {arguments: {url: "${TEAM}"}}
  pager: {arguments: {url: "${PAGER}"}}
rules:
  - name: checks
    kind: quality_check_failed
    to: [team]
    escalate: {after: 1h, to: [pager]}
"""


def test_what_people_do_about_an_incident(phlo, catalog, tmp_path, monkeypatch):
    rules(tmp_path, RULES)
    with receiver() as team, receiver(answers=[(500, {})]) as pager:
        monkeypatch.setenv("TEAM", team.url)
        monkeypatch.setenv("PAGER", pager.url)
        code, out, _ = phlo("test", "--output", "json")
        assert (code, [each["arrived"] for each in json.loads(out)]) == (1, [True, False])
        assert json.loads(out)[1]["error"] == "it answered 500"
        assert team.bodies[0]["test"] is True
        code, out, _ = phlo("test", "team", "--dry-run")
        assert (code, "This is a test of the destination team." in out, len(team.bodies)) == (0, True, 1)

        code, out, _ = phlo("list", "--rules", "-o", "json")
        assert json.loads(out)[0] | {"selects": {}} == {
            "rule": "checks", "kind": "quality_check_failed", "selects": {}, "to": ["team"],
            "escalates_to": ["pager"], "when": None,
        }  # fmt: skip
        code, out, _ = phlo(
            "silence", "checks", "--table", "raw.*", "--for", "2h", "--reason", "backfill", "-o", "json"
        )
        assert (code, json.loads(out)[0]["reason"]) == (0, "backfill")
        found = processing.process(
            catalog, read_configuration(tmp_path), [verdict(at=datetime.now(UTC))], datetime.now(UTC)
        )
        assert (found.opened, found.silenced, found.sent) == (1, 1, 0)
        code, out, _ = phlo("list", "-o", "json")
        assert (json.loads(out)[0]["silenced"], json.loads(out)[0]["notified"]) == (True, [])
        assert json.loads(out)[0]["held"] == "silenced"
        assert phlo("silence", "checks", "--table", "raw.*", "--end")[0] == 0
        assert phlo("silence", "checks", "--end")[0] == 2
        processing.process(catalog, read_configuration(tmp_path), [], datetime.now(UTC))
    code, out, _ = phlo("acknowledge", "checks", "-o", "json")
    assert (code, json.loads(out)[0]["table"]) == (0, "raw.readings")
    assert phlo("acknowledge", "checks")[0] == 2
    code, out, _ = phlo("history", "-o", "json")
    assert [(each["status"], each["destination"], each["state"]) for each in json.loads(out)] == [
        ("opened", "team", "sent")
    ]
    assert "null_check(id) failed: 3 of 40 rows." in phlo("list")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("silence", "chekcs", "--for", "2h"), "No rule is called chekcs. Did you mean checks?"),
        (("silence", "checks"), "Say for how long (--for 2h), or --end."),
        (("silence", "checks", "--for", "2h", "--end"), "Say for how long (--for 2h), or --end."),
        (("test", "taem"), "There is no destination taem. Did you mean team? There are: team, pager."),
        (("acknowledge", "nothing"), "No open incident is nothing"),
    ],
)
def test_what_cannot_be_done_is_refused(phlo, tmp_path, monkeypatch, words, says):
    rules(tmp_path, RULES)
    monkeypatch.setenv("TEAM", "http://127.0.0.1:9/")
    monkeypatch.setenv("PAGER", "http://127.0.0.1:9/")
    code, _, err = phlo(*words)
    assert (code, says in err) == (2, True), err


def test_without_a_file_it_is_said_where_one_belongs(phlo, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "dags"))
    code, _, err = phlo("test")
    assert (code, "There is no " in err, "include/alerting/config.yaml" in err) == (2, True, True)


def test_why_nobody_would_hear_is_said(phlo, catalog, tmp_path, monkeypatch):
    rules(tmp_path, RULES.replace("${TEAM}", "${TEAM:-}"))
    monkeypatch.setenv("PAGER", "http://127.0.0.1:9/")
    processing.process(catalog, read_configuration(tmp_path), [verdict(at=datetime.now(UTC))], datetime.now(UTC))
    for words in (("list",), ("list", "--rules"), ("test", "team", "-o", "json")):
        code, out, err = phlo(*words)
        assert (code, "off: TEAM is not set" in out + err.replace("team is off", "off")) == (int("test" in words), True)
        assert ("no round of the watcher is recorded" in err) == ("--rules" not in words)
    record_changes(catalog, [], Looked({}, datetime.now(UTC) - timedelta(hours=5)))
    assert "last recorded round was 5 hours ago" in phlo("list")[2]
    record_changes(catalog, [], Looked({}, datetime.now(UTC)))
    assert "round" not in phlo("list")[2]
    monkeypatch.setenv("TEAM", "http://127.0.0.1:9/")
    rules(tmp_path, RULES.replace("to: [team]", "to: [taem]"))
    code, out, err = phlo("list", "-o", "json")
    assert (code, json.loads(out)[0]["rule"], "there is no destination taem. Did you mean team?" in err) == (
        2, "checks", True,
    )  # fmt: skip
    rules(tmp_path, RULES.replace('url: "${TEAM}"', "nosuch: 1, url: http://127.0.0.1:9/"))
    assert "not nosuch." in phlo("list", "--rules")[2]


def test_a_dry_run_shows_every_destination_that_can_be_used(phlo, tmp_path, monkeypatch):
    monkeypatch.setenv("TEAM", "http://127.0.0.1:9/")
    monkeypatch.setenv("PAGER", "http://127.0.0.1:9/")
    rules(tmp_path, RULES.replace('url: "${TEAM}"', 'url: "http://127.0.0.1:9/{{ nope"'))
    code, out, err = phlo("test", "--dry-run")
    assert (code, "to pager:\n" in out, "to team:" in out) == (1, True, False)
    assert ("Destination team, argument url: the template cannot be used" in err, ".." in err) == (True, False)
    assert phlo("test", "pager", "--dry-run")[0] == 0
    code, out, _ = phlo("test", "--dry-run", "-o", "json")
    assert (code, [(each["destination"], each["test"]) for each in json.loads(out)]) == (1, [("pager", True)])
    rules(tmp_path, RULES)
    code, out, _ = phlo("test", "--dry-run", "-o", "json")
    assert (code, [each["destination"] for each in json.loads(out)]) == (0, ["team", "pager"])


def test_a_silence_about_no_table_is_said(phlo, catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("TEAM", "http://127.0.0.1:9/")
    monkeypatch.setenv("PAGER", "http://127.0.0.1:9/")
    rules(tmp_path, RULES)
    processing.process(catalog, read_configuration(tmp_path), [verdict(at=datetime.now(UTC))], datetime.now(UTC))
    code, _, err = phlo("silence", "checks", "--table", "raw.readngs", "--for", "2h")
    assert (code, "there is no table raw.readngs now; it is silenced all the same. Did you mean" in err) == (0, True)
    for table in ("raw.readings", "raw.*"):
        assert "no table" not in phlo("silence", "checks", "--table", table, "--for", "2h")[2]


def test_who_has_not_got_the_message_is_not_called_notified(phlo, catalog, tmp_path, monkeypatch):
    rules(tmp_path, RULES.replace("to: [team]", "to: [team, pager]"))
    with receiver() as team, receiver(answers=[(500, {})]) as pager:
        monkeypatch.setenv("TEAM", team.url)
        monkeypatch.setenv("PAGER", pager.url)
        processing.process(catalog, read_configuration(tmp_path), [verdict(at=datetime.now(UTC))], datetime.now(UTC))
    [row] = json.loads(phlo("list", "--output", "json")[1])
    assert (row["notified"], row["held"]) == (["team"], "not delivered yet: pager")
