"""What rules find out themselves, over real tables."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from airflow_provider_phlo.alerts import RuleKind, RunRef
from airflow_provider_phlo.alerts.incidents.transitions import rule_for
from airflow_provider_phlo.alerts.rules import metric_sql
from airflow_provider_phlo.alerts.rules.evaluation import evaluate, judge_metric, verdicts_of
from airflow_provider_phlo.alerts.rules.metric_sql import tables_of
from airflow_provider_phlo.alerts.rules.reading import read_file
from airflow_provider_phlo.alerts.rules.verdicts import LONGEST_UNKNOWN
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.check_results import WATCHER, Occasion, record
from airflow_provider_phlo.quality.freshness.table_policy import POLICY_PROPERTY, TablePolicy
from airflow_provider_phlo.quality.results import QualityCheckResult
from tests.lake import create_table
from tests.unit.alerts.conftest import NOW

CV_RULE = """
    destinations: {team: {arguments: {url: "https://example.com/x"}}}
    rules:
      - name: cv
        kind: metric
        to: [team]
        table: marts.daily
        day: day
        when: cv_pct > 40 for 7 consecutive days
"""
TODAY = NOW.date()


def days(*values, last=TODAY, missing=()):
    """Return one row per day up to ``last``, but for the days that are ``missing`` (counted back from it)."""
    rows = [(last - timedelta(days=len(values) - 1 - number), value) for number, value in enumerate(values)]
    kept = [row for row in rows if (last - row[0]).days not in missing]
    return pa.table({"day": pa.array([row[0] for row in kept], pa.date32()), "cv_pct": [row[1] for row in kept]})


@pytest.mark.long
@pytest.mark.parametrize(
    ("rows", "passed", "says"),
    [
        pytest.param(days(*[41.0] * 7), False, "(2026-02-26 to 2026-03-04)", id="seven"),
        pytest.param(days(*[41.0] * 6), None, "1 of the 7 days up to 2026-03-04 has no value", id="six"),
        pytest.param(days(*[41.0] * 6, 40.0), True, "is not so", id="the last is right"),
        pytest.param(days(39.0, *[41.0] * 7), False, "", id="right before that"),
        pytest.param(days(*[41.0] * 9, missing=(3,)), None, "1 of the 7 days", id="a day without a row"),
        pytest.param(days(41.0, 41.0, None, 41.0, 41.0, 41.0, 41.0, 41.0), None, "1 of the 7", id="NULL"),
        pytest.param(days(*[41.0] * 6, float("nan")), None, "1 of the 7", id="NaN"),
        pytest.param(days(*[41.0] * 6, float("inf")), False, "(2026-02-26 to 2026-03-04)", id="infinity"),
        pytest.param(days(30.0, *[41.0] * 7, missing=(7, 3)), None, "1 of the 7", id="a gap hides nothing"),
        pytest.param(days(41.0, 41.0, 30.0, 41.0, 41.0, 41.0, 41.0, missing=(0,)), True, "", id="one right is enough"),
        pytest.param(days(*[41.0] * 7, last=TODAY - timedelta(days=1)), False, "", id="up to yesterday"),
        pytest.param(days(*[41.0] * 7, last=TODAY - timedelta(days=3)), None, "3 days ago", id="too old"),
        pytest.param(
            days(*[41.0] * 7, last=TODAY + timedelta(days=2)),
            None,
            "1 of the 7 days up to 2026-03-05",
            id="of the future",
        ),
        pytest.param(days(41.0, 41.0)[:0], None, "no row", id="empty"),
        pytest.param(pa.concat_tables([days(*[41.0] * 7), days(1.0)]), False, "is there twice", id="a day twice"),
    ],
)
def test_days_in_a_row(catalog, configure, rows, passed, says):
    create_table(catalog, "marts.daily", rows)
    found, *_ = evaluate(catalog, configure(CV_RULE), NOW)
    assert (found.passed, says in found.message) == (passed, True), found.message
    assert (found.table, found.rule_name) == ("marts.daily", "cv")


@pytest.mark.parametrize("name", ["marts.eu.daily", "my marts.daily rows"])
def test_a_metric_of_a_table_of_any_name(catalog, configure, name):
    create_table(catalog, name, days(*[41.0] * 7))
    found, *_ = evaluate(catalog, configure(CV_RULE.replace("marts.daily", name)), NOW)
    assert (found.passed, found.table) == (False, name), found.message


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "passed", "says"),
    [
        ("sql: SELECT max(cv_pct) AS worst FROM marts.daily\n        when: worst > 40", False, "worst > 40."),
        ("sql: SELECT max(cv_pct) FROM marts.daily\n        when: '> 40'", False, "> 40."),
        ("sql: SELECT max(cv_pct) FROM marts.daily\n        when: '> 40.5e1'", True, "is not so"),
        ("sql: SELECT count(*) FROM marts.daily\n        when: value > 2", False, "marts.daily: metric cv: value > 2."),
        ("sql: SELECT 1 AS value, 3 AS other\n        when: value > 2", True, "metric cv: value > 2 is not so."),
        ("sql: SELECT NULL AS v FROM marts.daily LIMIT 1\n        when: v > 1", None, "NULL"),
        ("sql: SELECT true AS v\n        when: v > 0", False, "not a number, but of the type bool"),
        ("sql: SELECT 'a' AS v\n        when: v > 0", False, "not a number, but of the type str"),
        ("sql: SELECT 1 AS w\n        when: v > 0", False, "returns w, and v is not one"),
        ("sql: SELECT 1 AS v FROM marts.dayly\n        when: v > 0", False, "there is no table marts.dayly"),
        ("sql: SELECT nothing AS v FROM marts.daily\n        when: v > 0", False, "cannot be evaluated: "),
        ("sql: SELECT cv_pct FROM marts.daily\n        when: cv_pct > 0", False, "no column of them is a day"),
        ("sql: SELECT 41 AS v\n        when: v > 40 for 2 days", False, "is about several days"),
        ("table: marts.daily\n        when: avg(cv_pct) >= 41", False, "avg(cv_pct) >= 41."),
        (
            "table: marts.daily\n        when: avg(cv_pct) >= 41\n        show_value: true",
            False,
            "avg(cv_pct) >= 41: 41.",
        ),
        ("sql: SELECT range AS v FROM range(6000)\n        when: v > 0", False, "more than 5,000 rows"),
    ],
)
def test_values(catalog, configure, rule, passed, says):
    create_table(catalog, "marts.daily", days(*[41.0] * 3))
    text = f"""
    destinations: {{team: {{arguments: {{url: "https://example.com/x"}}}}}}
    rules:
      - name: cv
        kind: metric
        to: [team]
        {rule}
    """
    (configured,) = configure(text).rules
    found = judge_metric(configured, catalog, NOW)[0]
    assert (found.passed, says in found.message) == (passed, True), found.message


def test_a_metric_that_cannot_be_evaluated_is_an_incident_of_its_own(catalog, configure):
    table = create_table(catalog, "marts.daily", days(*[41.0] * 7))
    configuration = configure(CV_RULE)

    def said():
        return {each.subject: (each.passed, str(each.severity)) for each in evaluate(catalog, configuration, NOW)}

    assert said() == {"cv": (False, "error"), "evaluation of cv": (True, "warn")}
    with table.update_schema() as change:
        change.rename_column("cv_pct", "cv")
    assert said() == {"evaluation of cv": (False, "warn")}
    table.refresh()
    with table.update_schema() as change:
        change.rename_column("cv", "cv_pct")
    assert said()["evaluation of cv"] == (True, "warn")
    catalog.drop_table("marts.daily")
    [gone] = evaluate(catalog, configuration, NOW)
    assert gone.message == "marts.daily: metric cv cannot be evaluated: there is no table marts.daily."
    assert rule_for(configuration, gone) == configuration.rules[0]


def test_a_metric_that_takes_too_long_is_evaluated_again(catalog, configure, monkeypatch):
    monkeypatch.setattr(metric_sql, "LONGEST_SECONDS", 0.05)
    rule = CV_RULE.replace("table: marts.daily", "sql: SELECT sum(range) AS cv_pct FROM range(100000000000)")
    [found] = evaluate(catalog, configure(rule.replace("day: day", "").replace(" for 7 consecutive days", "")), NOW)
    assert (found.subject, found.passed) == ("evaluation of cv", None)
    assert "cannot be evaluated now: " in found.message
    assert "took longer than 0.05 s" in found.message
    assert found.wrong_after == LONGEST_UNKNOWN, "a metric that has grown too slow is heard of"


def test_a_metric_is_about_the_tables_that_its_sql_reads(catalog, configure):
    for name in ("marts.Daily", "raw.b"):
        table = create_table(catalog, name, days(41.0))
        policy = TablePolicy(group="glucose", owner=name, tags=("gold",))
        table.transaction().set_properties({POLICY_PROPERTY: policy.to_json()}).commit_transaction()
    sql = "WITH b AS (SELECT 1 FROM marts.daily) SELECT (SELECT count(*) FROM b) + count(*) AS n FROM raw.b"
    rule = CV_RULE.replace("table: marts.daily", f"sql: {sql}").replace("day: day", "")
    found, _ = evaluate(catalog, configure(rule.replace("cv_pct > 40 for 7 consecutive days", "n > 0")), NOW)
    assert (found.passed, found.message) == (False, "marts.Daily, raw.b: metric cv: n > 0.")
    assert (found.table, found.owner, found.group, found.tags) == ("marts.Daily", "marts.Daily", "glucose", ("gold",))


def test_the_tables_of_a_metric_on_trino(catalog, configure):
    create_table(catalog, "marts.daily", days(41.0))
    sql = "WITH b AS (SELECT 1 AS n FROM lake.marts.daily) SELECT count(*) AS n FROM b, raw.gone"
    rule = CV_RULE.replace("table: marts.daily", f"engine: trino\n        sql: {sql}").replace("day: day", "")
    configuration = configure(rule.replace("cv_pct > 40 for 7 consecutive days", "n > 0"))
    found, missing = tables_of(configuration.rules[0], catalog)
    assert (sorted(found), missing) == (["marts.daily", "raw.gone"], ["raw.gone"])


@pytest.mark.parametrize(
    ("sql", "engine"),
    [
        ("DELETE FROM marts.daily", "duckdb"),
        ("COPY (SELECT 1) TO '/tmp/x'", "duckdb"),
        ("SELECT 1; DROP TABLE marts.daily", "duckdb"),
        ("WITH gone AS (DELETE FROM marts.daily RETURNING 1) SELECT 1", "duckdb"),
        ("ATTACH 'other.db'", "duckdb"),
        ("SELECT 1 FROM", "duckdb"),
        ("SELECT count(*) AS v FROM read_text('/etc/hostname')", "duckdb"),
        ("SELECT v FROM 'rows.csv'", "duckdb"),
        ("SELECT v FROM 's3://bucket/rows.parquet'", "duckdb"),
        ("SELECT count(*) AS v FROM duckdb_settings()", "duckdb"),
        ("SELECT length(getenv('HOME')) AS v FROM marts.daily", "duckdb"),
        ("DELETE FROM marts.daily", "trino"),
        ("CREATE TABLE marts.x AS SELECT 1", "trino"),
        ("SELECT 1; SELECT 2", "trino"),
        ("CALL system.sync_partition_metadata('a', 'b', 'FULL')", "trino"),
        ("SELECT FROM WHERE", "trino"),
    ],
)
def test_what_does_more_than_read_is_refused_before_it_runs(configure, sql, engine):
    with pytest.raises(ConfigurationError, match=r"config.yaml, line 5: rules.0.sql: "):
        configure(f"""
            destinations: {{team: {{arguments: {{url: "https://example.com/x"}}}}}}
            rules:
              - {{name: cv, kind: metric, to: [team], engine: {engine}, when: v > 1,
                  sql: "{sql}"}}
        """)


def test_a_metric_reaches_no_file_either_where_its_sql_was_not_read_before(catalog, tmp_path):
    (tmp_path / "secret.csv").write_text("v\n1\n")
    rules = tmp_path / "config.yaml"
    rules.write_text(
        'destinations: {team: {arguments: {url: "https://example.com/x"}}}\n'
        f"rules: [{{name: cv, kind: metric, to: [team], when: v > 0, sql: \"SELECT v FROM '{tmp_path}/secret.csv'\"}}]"
    )
    found = judge_metric(read_file(rules, {}, checks_sql=False).rules[0], catalog, NOW)
    assert [(each.subject, each.passed) for each in found] == [("evaluation of cv", False)]


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ("max(CAST(note AS int))", "a value cannot be converted (column note), at CAST(note AS int)"),
        ("max(big) * max(big)", "a value is out of range"),
        ("max(nothing)", "there is no column nothing; there are "),
        ("mediann(big)", "there is no function mediann"),
        ("sum(note)", "there is no sum(VARCHAR): the arguments have other types"),
        ("big, count(*)", "column big has to be in GROUP BY or in an aggregate"),
    ],
)
def test_what_fails_again_is_heard_of_in_plain_words(catalog, configure, select, says):
    create_table(catalog, "marts.daily", pa.table({"note": ["O'Brien 77"], "big": [2**62]}))
    rule = CV_RULE.replace("table: marts.daily", f"sql: SELECT {select} FROM marts.daily").replace("cv_pct", "value")
    [found] = evaluate(catalog, configure(rule.replace("day: day", "").replace(" for 7 consecutive days", "")), NOW)
    assert (found.subject, found.passed, says in found.message) == ("evaluation of cv", False, True), found.message
    assert not any(word in found.message for word in ("Brien", "Error", "!"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("value", "kind", "when", "passed"),
    [
        (float("inf"), pa.float64(), "> 40", False),
        (float("-inf"), pa.float64(), "> 40", True),
        (float("nan"), pa.float64(), "> 40", None),
        (2**53 + 1, pa.int64(), f"> {2**53}", False),
        (Decimal("0.1"), pa.decimal128(38, 20), "> 0.1", True),
        (Decimal("0.10000000000000000001"), pa.decimal128(38, 20), "> 0.1", False),
        (0.1, pa.float64(), "> 0.1", True),
        (0.1, pa.float64(), "= 0.1", False),
        (0, pa.int64(), "= 0", False),
    ],
)
def test_numbers_are_compared_exactly(catalog, configure, value, kind, when, passed):
    create_table(catalog, "marts.daily", pa.table({"v": pa.array([value], kind)}))
    (rule,) = configure(f"""
        destinations: {{team: {{arguments: {{url: "https://example.com/x"}}}}}}
        rules:
          - {{name: cv, kind: metric, to: [team], show_value: true, when: "v {when}", sql: SELECT v FROM marts.daily}}
    """).rules
    found = judge_metric(rule, catalog, NOW)[0]
    assert found.passed is passed
    json.dumps(dict(found.facts), allow_nan=False)


CHECK_RULE = """
    destinations: {team: {arguments: {url: "https://example.com/x"}}}
    rules: [{name: checks, kind: quality_check_failed, to: [team]}]
"""


def result(passed, name="null_check(id)", **more):
    return QualityCheckResult(
        passed=passed, failed=0 if passed else 10_000, row_count=40_000, check_name=name, table="raw.readings", **more
    )


def occasion(run, map_index=-1, **more):
    return Occasion("readings", run, "check", map_index, 1, **more)


def test_recorded_results_are_verdicts(catalog, configure):
    configuration = configure(CHECK_RULE)
    assert evaluate(catalog, configuration, NOW) == []
    record(catalog, occasion("one", branch="phlo_1"), [result(False), result(True, "unique(id)", severity="warn")])
    now = datetime.now(UTC)
    failed, passed = sorted(evaluate(catalog, configuration, now), key=lambda each: each.subject)
    assert (failed.passed, passed.passed, passed.severity) == (False, True, "warn")
    assert failed.message == ("null_check(id) failed: 10,000 of 40,000 rows on branch phlo_1, main is as it was.")
    assert (failed.run.dag_id, failed.run.run_id, failed.run.task_id) == ("readings", "one", "check")
    record(catalog, occasion("two"), [result(True)])
    assert {each.passed for each in evaluate(catalog, configuration, datetime.now(UTC))} == {True}
    # of mapped tasks, one that failed is enough
    record(catalog, occasion("three", 0), [result(False)])
    record(catalog, occasion("three", 1), [result(True)])
    assert {each.subject for each in evaluate(catalog, configuration, datetime.now(UTC)) if not each.passed} == {
        "null_check(id)"
    }
    assert evaluate(catalog, configuration, now + timedelta(hours=2)) == []


def test_results_of_contracts_are_breaches_of_contracts(catalog, configure):
    from datetime import UTC, datetime

    facts = {"contract": "sales", "version": "1.0.0", "rule": "total range"}
    broken = result(False, "sales: total range", metrics=facts)
    columns = result(
        True, "sales: columns", metrics={**facts, "rule": "columns", "consumers": ["finance"], "owner": "crew"}
    )
    rule = CHECK_RULE.replace("quality_check_failed", "contract_breach")
    record(catalog, occasion("one"), [broken, columns, result(False)])
    found = evaluate(catalog, configure(rule), datetime.now(UTC))
    run = RunRef("readings", "one", "check")
    for verdicts in (found, verdicts_of([broken, columns, result(False)], run, None, datetime.now(UTC))):
        check, kept, breach = sorted(verdicts, key=lambda each: each.subject)
        assert (check.rule, check.subject) == (RuleKind.QUALITY_CHECK_FAILED, "null_check(id)")
        assert (kept.rule, kept.passed, kept.message) == (
            *(RuleKind.CONTRACT_BREACH, True),
            "Contract sales: columns is kept.",
        )
        # as the watcher calls it
        assert (breach.rule, breach.subject, breach.consumers, breach.owner) == (
            *(RuleKind.CONTRACT_BREACH, "sales total range"),
            *(("finance",), "crew"),
        )
        assert breach.message == "Contract sales: total range is broken: 10,000 of 40,000 rows."


def test_dates_of_other_kinds_are_days(catalog, configure):
    moments = pa.table(
        {
            "day": pa.array([date(2026, 3, 3), date(2026, 3, 4)], pa.date32()).cast(pa.timestamp("us", "UTC")),
            "cv_pct": [41, 41],
        }
    )
    create_table(catalog, "marts.daily", moments)
    (rule,) = configure(CV_RULE.replace("7 consecutive", "2 consecutive")).rules
    assert judge_metric(rule, catalog, NOW)[0].passed is False
    # midnight in UTC is the evening before in New York
    west = rule.model_copy(update={"zone": "America/New_York"})
    assert "2026-03-02 to 2026-03-03" in judge_metric(west, catalog, NOW)[0].message


def test_a_failed_check_knows_whose_its_table_is(catalog, configure):
    table = create_table(catalog, "raw.readings", pa.table({"id": [1]}))
    policy = TablePolicy(group="glucose", owner="ann", tags=("gold",))
    table.transaction().set_properties({POLICY_PROPERTY: policy.to_json()}).commit_transaction()
    record(catalog, occasion("one"), [result(False)])
    (found,) = evaluate(catalog, configure(CHECK_RULE), datetime.now(UTC))
    assert (found.group, found.owner, found.tags) == ("glucose", "ann", ("gold",))
    # or a rule that selects by group opens an incident and never ends it
    record(catalog, occasion("two"), [result(True)])
    (found,) = evaluate(catalog, configure(CHECK_RULE), datetime.now(UTC))
    assert (found.passed, found.group) == (True, "glucose")


def test_what_the_watcher_records_is_not_seen_again_as_a_failed_check(catalog, configure):
    record(catalog, Occasion("phlo_watch", "one", WATCHER, -1, 1), [result(False)])
    assert evaluate(catalog, configure(CHECK_RULE), datetime.now(UTC)) == []
