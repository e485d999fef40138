"""``include/alerting/config.yaml``: what is wrong with it is named, with its line."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from airflow_provider_phlo.alerts.rules.configuration import Rule
from airflow_provider_phlo.alerts.rules.reading import read_configuration
from airflow_provider_phlo.alerts.rules.selectors import Selectors, fits
from airflow_provider_phlo.alerts.rules.verdicts import OF_CHECKS, RuleKind, RunRef, Verdict
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.configuration_page import DOCS

START = """\
destinations:
  team: {arguments: {url: "${HOOK}"}}
rules:
"""


def test_what_is_said_is_read(configure):
    found = configure(
        START
        + """\
  - name: cv
    kind: metric
    table: marts.daily
    day: day
    when: cv_pct > 40 for 7+ days
    to: [team]
    escalate: {after: 4h, to: [slack]}
    resolve_after: 2w
quiet_hours:
  - {from: "22:00", to: "07:00", zone: Europe/Berlin, weekdays: [mon], severities: [warn]}
""",
        HOOK="https://example.com/hook",
        PHLO_ALERT_SLACK_WEBHOOK="https://hooks.slack.com/services/x",
    )
    (rule,) = found.rules
    assert (rule.when.value, rule.when.operator, rule.when.bound, rule.when.days) == ("cv_pct", ">", 40.0, 7)
    assert rule.resolve_after == timedelta(weeks=2)
    assert found.destinations["slack"].arguments == {"url": "https://hooks.slack.com/services/x", "form": "slack"}
    assert found.destinations["team"].arguments == {"url": "https://example.com/hook"}


def test_the_example_in_the_docs_is_a_file(configure):
    page = (DOCS / "alerts.md").read_text()
    found = configure(page.partition("```yaml\n")[2].partition("```")[0], DATA_TEAM_HOOK="https://example.com/hook")
    assert {rule.name: len(rule.to) for rule in found.rules}.keys() >= {"failed-checks", "unsteady-glucose"}
    assert found.rule("unsteady-glucose").when.days == 7


def test_without_a_file_there_is_nothing(tmp_path):
    assert read_configuration(tmp_path) is None


METRIC = "kind: metric, to: [team]"
FRESH = "kind: freshness, to: [team]"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("kind: freshnes, to: [team]", r"line 4: rules\.0\.kind: has to be 'quality_check_failed'"),
        ("kind: freshness, too: [team]", r"line 4: rules\.0\.too is not known\. Did you mean to\?"),
        ("kind: freshness, to: [taem]", r"rules\.0\.to: there is no destination taem\. Did you mean team\?"),
        ("kind: freshness, to: [slack]", r"no destination slack\..* Or set PHLO_ALERT_SLACK_WEBHOOK"),
        ("kind: freshness", r"line 4: rules\.0: nobody hears of a"),
        (f"{FRESH}, sql: SELECT 1", r"line 4: rules\.0: sql is for rules of kind metric"),
        (f"{METRIC}, sql: SELECT 1", r"a metric needs when"),
        (f"{METRIC}, when: v > 1", r"a metric needs sql, or a table"),
        (f"{METRIC}, when: v is big, sql: SELECT 1 v", r"'v is big' is not a condition"),
        (f"{METRIC}, when: v > 1 for 0 days, sql: SELECT 1 v", r"0 days: write 1 to 366"),
        (f"{METRIC}, when: v > 1 for 2 days, table: a.b", r"needs day"),
        (f"{METRIC}, when: v > 1, table: ab", r"rules\.0\.table: write a table as namespace\.table\."),
        (f"{FRESH}}}\n  - {{name: a b, {FRESH}", r"line 5: rules\.1\.name: a name has letters, .* and no spaces\."),
        (f"{METRIC}, when: v > 1, sql: SELECT 1 v, zone: CEST+1", r"CEST\+1 is not a time zone"),
        (f"{FRESH}, cooldown: 5", r"rules\.0\.cooldown: write a length of time: 30m, 12h or 7d"),
        (f"{FRESH}, name: b", r"rules\.0\.name is there twice"),
        (f"{FRESH}, escalate: {{after: 1h, to: [x]}}", r"rules\.0\.escalate\.to: there is no destination x"),
        (f"{FRESH}}}\n  - {{name: a, {FRESH}", r"line 5: the rule a is there twice"),
        (f"{FRESH}, older_than: 0h", r"rules\.0\.older_than: write more than no time at all"),
        (f"{FRESH}, remind_after: 0m", r"rules\.0\.remind_after: write more than no time at all"),
        (
            f"{FRESH}}}\n  - {{name: policy, older_than: 1h, {FRESH}",
            "the name policy is that of what stands with tables",
        ),
        (
            f"{METRIC}, when: v > 1, sql: SELEC 1",
            r"rules\.0\.sql: Cannot read the SQL: syntax error at SELEC, line 1\.$",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(configure, rule, says):
    with pytest.raises(ConfigurationError, match=says):
        configure(f"{START}  - {{name: a, {rule}}}", HOOK="https://example.com/hook")


@pytest.mark.parametrize("kind", RuleKind)
@pytest.mark.parametrize("selector", Selectors.model_fields)
@pytest.mark.parametrize("bound", [{}, {"older_than": "1h"}, {"deviation": 0.5}, {"more_than": 0.1}])
def test_a_rule_that_could_never_be_about_anything_is_refused(kind, selector, bound):
    """Of what is seen of each kind, as much as there ever is: something of it is selected, or the file is refused."""
    about = {"table": "x", "subject": "x", "group": "x", "tags": ("x",), "owner": "x", "run": RunRef("x", "x", "x")}
    if kind == RuleKind.TASK_FAILED:
        about |= {"table": None, "group": None}
    elif kind not in OF_CHECKS:
        about |= {"run": None, "subject": "policy"}
    always = {
        RuleKind.TASK_FAILED: ["error"],
        RuleKind.ROW_COUNT_ANOMALY: ["warn"],
        RuleKind.QUARANTINE_RATE: ["warn"],
    }.get(kind, ["error"] if "older_than" in bound else ["error", "warn"])
    needs = {"when": "v > 1", "sql": "SELECT 1 AS v"} if kind == RuleKind.METRIC else {}
    for wanted in ("error", "warn") if selector == "severities" else ("x",):
        try:
            rule = Rule.model_validate({"name": "r", "kind": kind, selector: [wanted], **needs, **bound})
        except ValidationError:
            continue
        seen = [Verdict(kind, passed=False, severity=each, message="", observed_at=None, **about) for each in always]
        assert any(rule.select(each) for each in seen), (kind, selector, wanted)


@pytest.mark.parametrize(
    ("quiet", "says"),
    [
        ('{from: 22:00, to: "07:00"}', "write hours and minutes in quotes"),
        ('{from: "22:00", to: "25:00"}', "write hours and minutes in quotes"),
        ('{from: "22:00", to: "22:00"}', "from and to are the same"),
        ('{from: "22:00", to: "07:00", zone: Berlin}', "Berlin is not a time zone"),
        ('{from: "22:00", to: "07:00", weekdays: [monday]}', "has to be 'mon'"),
        ('{form: "22:00", to: "07:00"}', r"quiet_hours\.0\.form is not known\. Did you mean from\?"),
    ],
)
def test_wrong_quiet_hours_are_named(configure, quiet, says):
    with pytest.raises(ConfigurationError, match=says):
        configure(f"quiet_hours:\n  - {quiet}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "password: hunter2",
        "api_key: abc",
        "integration_key: 0123456789abcdef",
        "routing_key: R012",
        'slack_webhook: "https://example.com"',
        'url: "https://hooks.slack.com/services/T0/B0/x"',
        'url: "https://ann:hunter2@example.com/"',
        'url: "https://example.com/hook?token=abc"',
        'url: "https://example.com/in/0a1b2c3d4e5f6a7b8c9d0e1f"',
        'headers: {Authorization: "Bearer abc"}',
        'headers: {X-Auth-Token: abc}',
        'password: "${PASSWORD:-hunter2}"',
        'password: "a${PASSWORD}"',
        'nested: [{secret: abc}]',
    ],
)  # fmt: skip
def test_secrets_are_refused_by_name_and_not_repeated(configure, arguments):
    with pytest.raises(ConfigurationError) as error:
        configure(f"destinations:\n  team:\n    arguments:\n      {arguments}\n", PASSWORD="x")
    assert "line 4: destinations.team.arguments." in str(error.value)
    assert "write ${VARIABLE}, or name a connection that has it." in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "abc" not in str(error.value).replace("hunter2", "")


@pytest.mark.parametrize(
    "arguments",
    [
        'password: "${PASSWORD}"',
        'url: "https://example.com/hook"',
        'url: "https://${HOST}/hook?token=${PASSWORD}"',
        'dedup_key: "{{ key }}"',
        "slack_webhook_conn_id: slack_default",
        'smtp_conn_id: "mail"',
        'auth_type: basic',
        'headers: {Authorization: "Bearer ${PASSWORD}"}',
    ],
)  # fmt: skip
def test_references_and_connections_may_stand_there(configure, arguments):
    configure(f"destinations:\n  team:\n    arguments:\n      {arguments}\n", PASSWORD="x", HOST="example.com")


def test_a_variable_that_is_not_set_is_named(configure):
    with pytest.raises(ConfigurationError, match=r"line 2: destinations.team.arguments.url: HOOK is not set"):
        configure(START + "  - {name: a, kind: freshness, to: [team]}")


def test_a_bomb_is_not_unpacked(configure):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
    with pytest.raises(ConfigurationError, match="anchors"):
        configure("\n".join(lines))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("raw.a[1]", "raw.a[1]", True),
        ("raw.a[1]", "raw.a1", False),
        ("raw.[ab]*", "raw.[ab]c", True),
        ("raw.[!a]", "raw.b", False),
        ("*.a?", "raw.ab", True),
        ("raw.A", "raw.a", False),
        ("*", None, False),
    ],
)
def test_brackets_are_part_of_names(pattern, name, expected):
    assert fits(pattern, name) is expected
