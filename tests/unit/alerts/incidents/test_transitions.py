"""What verdicts and time make of incidents, and what is said about them: by example, and against a simple model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.alerts.delivery import sending as delivery
from airflow_provider_phlo.alerts.delivery.notifying import held_because
from airflow_provider_phlo.alerts.incidents.state import IncidentState, MessageState, State
from airflow_provider_phlo.alerts.incidents.transitions import rule_for
from airflow_provider_phlo.alerts.processing import decide
from airflow_provider_phlo.alerts.rules.configuration import Configuration
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Severity
from tests.unit.alerts.conftest import NOW, minutes, verdict


def configuration(**rule):
    return Configuration.model_validate(
        {
            "destinations": {name: {"arguments": {"url": f"http://127.0.0.1:9/{name}"}} for name in ("team", "pager")},
            "rules": [{"name": "checks", "kind": "quality_check_failed", "to": ["team"], **rule}],
        }
    )


class Watching:
    """A watcher whose messages all arrive."""

    def __init__(self, rules, state=None):
        self.rules = rules
        self.state = state or State()
        self.sent = []

    def round(self, at, *verdicts):
        self.state, counts = decide(self.state, self.rules, verdicts, NOW + at, "me")
        mine = delivery.claimed(self.state, "me")
        self.sent += [f"{each.status} to {each.destination}" for each in mine]
        self.state = delivery.settle(self.state, map(delivery.Outcome, mine), "me", NOW + at)
        self.messages = mine
        return counts


def failed(at, **more):
    return verdict(False, NOW + at, **more)


def passed(at, **more):
    return verdict(True, NOW + at, **more)


def test_two_checks_that_flap_every_minute_are_few_messages():
    watching = Watching(configuration())
    for number in range(240):
        at = minutes(number)
        kind = failed if number % 2 else passed
        watching.round(at, kind(at), kind(at, check="unique(id)"))
    assert watching.sent == ["opened to team"]
    (message,) = watching.state.messages.values()
    assert message.content["count"] == 2
    at = minutes(240)
    for number in range(3):
        watching.round(at + number * minutes(6), passed(at), passed(at, check="unique(id)"))
    assert watching.sent == ["opened to team", "resolved to team"]
    resolved = next(each for each in watching.state.messages.values() if each.status == "resolved")
    assert "119 times wrong again meanwhile" in resolved.content["text"]


def test_a_check_that_flaps_slowly_is_announced_once_per_cooldown():
    watching = Watching(configuration(resolve_after="5m", cooldown="1h"))
    for number in range(0, 240, 10):
        watching.round(minutes(number), failed(minutes(number)))
        watching.round(minutes(number + 4), passed(minutes(number + 4)))
        watching.round(minutes(number + 9))
    assert watching.sent == ["opened to team", "resolved to team"] * 4


def test_what_is_wrong_when_a_cooldown_is_over_is_said_then():
    watching = Watching(configuration(resolve_after="0s", cooldown="1h"))
    watching.round(minutes(0), failed(minutes(0)))
    watching.round(minutes(1), passed(minutes(1)))
    watching.round(minutes(2), failed(minutes(2)))
    assert watching.sent == ["opened to team", "resolved to team"]
    watching.round(minutes(59))
    assert len(watching.sent) == 2
    watching.round(minutes(60))
    assert watching.sent[2:] == ["opened to team"]


def test_without_resolve_messages_the_next_incident_is_said_all_the_same():
    watching = Watching(configuration(resolve_after="0s", cooldown="0s", send_resolved=False))
    for number in range(3):
        watching.round(minutes(10 * number), failed(minutes(10 * number)))
        watching.round(minutes(10 * number + 5), passed(minutes(10 * number + 5)))
    assert watching.sent == ["opened to team"] * 3
    assert watching.state.live == 0


def test_what_is_right_again_before_its_time_is_never_said():
    watching = Watching(configuration(open_after="10m"))
    assert watching.round(minutes(0), failed(minutes(0))).opened == 0
    watching.round(minutes(5), passed(minutes(5)))
    watching.round(minutes(20), failed(minutes(20)))
    assert watching.round(minutes(30)).opened == 1
    assert watching.sent == ["opened to team"]


def test_what_becomes_worse_is_said_again_and_what_becomes_better_is_not():
    watching = Watching(configuration())
    watching.round(minutes(0), failed(minutes(0), severity=Severity.WARN))
    watching.round(minutes(1), failed(minutes(1)))
    watching.round(minutes(2), failed(minutes(2), severity=Severity.WARN))
    assert watching.sent == ["opened to team"] * 2


def test_nobody_acknowledges():
    rules = configuration(escalate={"after": "4h", "to": ["pager"]}, remind_after="6h", resolve_after="0s")
    watching = Watching(rules)
    watching.round(minutes(0), failed(minutes(0)))
    for hours in range(1, 14):
        watching.round(timedelta(hours=hours))
    assert watching.sent == ["opened to team", "escalated to pager", "reminder to team"]
    watching.round(timedelta(hours=14), passed(timedelta(hours=14)))
    assert sorted(watching.sent[3:]) == ["resolved to pager", "resolved to team"]


def test_who_acknowledges_is_left_alone():
    watching = Watching(configuration(escalate={"after": "4h", "to": ["pager"]}, remind_after="6h"))
    watching.round(minutes(0), failed(minutes(0)))
    state = watching.state
    watching.state = replace(
        state, incidents={key: replace(each, acknowledged_at=NOW) for key, each in state.incidents.items()}
    )
    watching.round(timedelta(hours=30))
    assert watching.sent == ["opened to team"]


def test_of_several_checks_the_last_one_that_passes_resolves():
    watching = Watching(configuration(resolve_after="0s"))
    watching.round(minutes(0), failed(minutes(0)), failed(minutes(0), check="b"), failed(minutes(0), table="raw.more"))
    assert sorted(each.content["count"] for each in watching.messages) == [1, 2]
    watching.round(minutes(1), passed(minutes(1)))
    assert [(each.content["action"], each.content["still_open"]) for each in watching.messages] == [("trigger", 1)]
    watching.round(minutes(2), passed(minutes(2), check="b"))
    assert [each.content["action"] for each in watching.messages] == ["resolve"]


@pytest.mark.long
def test_ten_thousand_failures_of_one_table_are_one_message():
    watching = Watching(configuration())
    watching.round(minutes(0), *(failed(minutes(0), check=f"check {number}") for number in range(10_000)))
    (message,) = watching.messages
    assert message.content["count"] == 10_000
    assert "and 9980 more" in message.content["text"]


def test_verdicts_that_say_nothing_change_nothing():
    watching = Watching(configuration())
    assert watching.round(minutes(0), verdict(None)).unknown == 1
    assert watching.state == State()
    watching.round(minutes(1), failed(minutes(1)))
    before = watching.state
    watching.round(minutes(2), verdict(None, NOW + minutes(2)))
    assert watching.state == before


def test_a_late_look_does_not_undo_a_newer_one():
    watching = Watching(configuration(resolve_after="0s"))
    watching.round(minutes(10), failed(minutes(10)))
    watching.round(minutes(11), passed(minutes(9)))
    assert watching.sent == ["opened to team"]


@pytest.mark.parametrize("gone", ["rule", "table"])
def test_what_nobody_looks_at_any_more_is_closed(gone):
    watching = Watching(configuration())
    watching.round(minutes(0), failed(minutes(0)))
    if gone == "rule":
        watching.rules = watching.rules.model_copy(update={"rules": []})
        watching.round(minutes(5))
    else:
        watching.round(timedelta(days=44))
        assert len(watching.sent) == 1
        watching.round(timedelta(days=46))
    assert watching.sent == ["opened to team", "closed to team"]
    assert watching.messages[0].content["title"].startswith("[error] closed, not resolved: checks")
    assert watching.messages[0].content["action"] == "resolve"
    assert ("not configured any more" if gone == "rule" else "nothing was seen") in watching.messages[0].content["text"]


def test_the_first_rule_that_fits_counts_and_routes_decide_where_it_goes_to():
    rules = Configuration.model_validate(
        {
            "destinations": {name: {"arguments": {}} for name in ("team", "pager", "rest")},
            "routes": [
                {"severities": ["error"], "owners": ["ann"], "to": ["pager"]},
                {"tags": ["gold"], "to": ["team"]},
                {"to": ["rest"]},
            ],
            "rules": [
                {"name": "one", "kind": "quality_check_failed", "tables": ["raw.*"], "severity": "warn"},
                {"name": "two", "kind": "quality_check_failed"},
            ],
        }
    )
    watching = Watching(rules)
    watching.round(minutes(0), failed(minutes(0), owner="ann"))
    assert watching.sent == ["opened to rest"]
    watching.round(minutes(1), failed(minutes(1), table="gold.a", owner="ann", tags=("gold",)))
    watching.round(minutes(2), failed(minutes(2), table="gold.b", tags=("gold",)))
    assert watching.sent[1:] == ["opened to pager", "opened to team"]


def test_what_is_over_is_kept_for_its_time_only():
    watching = Watching(configuration(resolve_after="0s", cooldown="0s"))
    for number in range(100):
        at = timedelta(hours=12 * number)
        watching.round(at, failed(at))
        watching.round(at + minutes(5), passed(at + minutes(5)))
    assert len(watching.state.past) + len(watching.state.incidents) <= 61
    assert len(watching.state.messages) <= 122


@pytest.mark.parametrize(
    ("selects", "seen"),
    [
        ({"severities": ["warn"]}, {"severity": Severity.WARN}),
        ({"owners": ["ann"]}, {"owner": "ann"}),
        ({"tags": ["gold"], "groups": ["cgm"]}, {"tags": ("gold",), "group": "cgm"}),
    ],
)
@pytest.mark.parametrize("others", [[], [{"name": "rest", "kind": "quality_check_failed", "to": ["team"]}]])
def test_what_passes_ends_what_is_open_about_it_whichever_rule_opened_it(selects, seen, others):
    rules = configuration(resolve_after="0s", **selects)
    rules = Configuration.model_validate(
        {**rules.model_dump(), "rules": [*(each.model_dump(exclude_unset=True) for each in rules.rules), *others]}
    )
    watching = Watching(rules)
    watching.round(minutes(0), failed(minutes(0), **seen))
    assert watching.round(minutes(1), passed(minutes(1))).resolved == 1
    assert watching.sent == ["opened to team", "resolved to team"]


def test_what_becomes_worse_is_one_incident_though_its_rule_is_another_one_then():
    both = [
        {"name": name, "kind": "freshness", "severities": [name], "to": ["team"], "resolve_after": "0s"}
        for name in ("warn", "error")
    ]
    rules = Configuration.model_validate({"destinations": {"team": {}}, "rules": both})
    watching, late = Watching(rules), {"rule": RuleKind.FRESHNESS}
    watching.round(minutes(0), failed(minutes(0), severity=Severity.WARN, **late))
    counts = watching.round(minutes(90), failed(minutes(90), severity=Severity.ERROR, **late))
    assert (counts.opened, counts.resolved) == (1, 1)
    over = next(each for each in watching.messages if each.rule == "warn")
    assert "it is an incident of the rule error now" in over.content["text"]
    watching.round(minutes(100), passed(minutes(100), severity=Severity.ERROR, **late))
    assert [each.rule for each in watching.messages] == ["error"]
    assert not any(each.is_live for each in watching.state.incidents.values())


def test_why_nobody_is_notified_yet_is_known():
    rules = configuration(open_after="10m", resolve_after="0s")
    watching = Watching(rules)

    def why(at):
        return [
            held_because(each, watching.state, watching.rules, NOW + at) for each in watching.state.incidents.values()
        ]

    watching.round(minutes(0), failed(minutes(0)))
    assert why(minutes(1)) == ["open_after: until 2026-03-04 12:10 UTC"]
    watching.round(minutes(10))
    assert (why(minutes(10)), watching.sent) == ([""], ["opened to team"])
    watching.round(minutes(11), passed(minutes(11)))
    watching.round(minutes(12), failed(minutes(12)))
    watching.round(minutes(30))
    assert why(minutes(30)) == ["cooldown: until 2026-03-04 13:10 UTC"]
    watching.rules = rules.with_off({"team": "HOOK"})
    assert why(minutes(80)) == ["off: team"]


def test_a_rule_that_is_taken_out_and_put_back_has_no_cooldown():
    rules = configuration()
    watching = Watching(rules)
    watching.round(minutes(0), failed(minutes(0)))
    watching.rules = rules.model_copy(update={"rules": []})
    watching.round(minutes(1))
    watching.rules = rules
    watching.round(minutes(2), failed(minutes(2)))
    assert watching.sent == ["opened to team", "closed to team", "opened to team"]


def test_nobody_hears_that_it_is_over_before_they_heard_that_it_began():
    rules, ahead = configuration(resolve_after="0s"), minutes(2)
    # a watcher whose clock is ahead has claimed the message, and then it was killed
    state, _ = decide(State(), rules, [failed(ahead)], NOW + ahead, "killed")
    state, _ = decide(state, rules, [passed(ahead)], NOW + minutes(1), "other")
    assert not delivery.claimed(state, "other")
    state, _ = decide(state, rules, [], NOW + minutes(8), "later")
    first, second = delivery.claimed(state, "later")
    assert (first.status, second.status) == ("opened", "resolved")
    # one that is refused keeps no other waiting
    outcomes = [delivery.Outcome(first, "it answered 413", refused=True), delivery.Outcome(second, "429", wait=30.0)]
    state = delivery.settle(state, outcomes, "later", NOW + minutes(8))
    state, _ = decide(state, rules, [], NOW + minutes(8.5), "last")
    assert [each.status for each in delivery.claimed(state, "last")] == ["resolved"]


KEYS = [("raw.a", "x"), ("raw.a", "y"), ("raw.b", "x")]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]),
        # what each thing is at that moment: wrong, right, or nobody looks
        st.tuples(*[st.sampled_from([False, True, None]) for _ in KEYS]),
        st.sampled_from(["", "", "", "before the commit", "before sending", "before marking", "not delivered"]),
        st.integers(0, 20),
    ),
    max_size=40,
)
SKEW = {"A": timedelta(0), "B": timedelta(minutes=2)}


class World:
    """Two watchers with different clocks, a table, a destination; crashes."""

    def __init__(self, rules):
        self.rules, self.state, self.time, self.runs = rules, State(), timedelta(0), 0
        self.received, self.lost_marks = [], 0

    def step(self, who, seen, crash, pause):
        self.time += minutes(pause)
        now, self.runs = NOW + self.time + SKEW[who], self.runs + 1
        verdicts = [
            verdict(value, now, table=table, check=check)
            for (table, check), value in zip(KEYS, seen, strict=True)
            if value is not None
        ]
        claimant = f"{who}{self.runs}"
        after, _ = decide(self.state, self.rules, verdicts, now, claimant)
        # the same round once more at the same moment, as a retry does it, changes nothing
        assert decide(after, self.rules, verdicts, now, claimant)[0] == after
        if crash == "before the commit":
            return
        self.state = after
        mine = delivery.claimed(after, claimant)
        if crash == "before sending":
            return
        if crash == "not delivered":
            outcomes = [delivery.Outcome(each, "it answered 500") for each in mine]
        else:
            self.received += [(each.id, self.time, each) for each in mine]
            outcomes = [delivery.Outcome(each) for each in mine]
        if crash == "before marking":
            self.lost_marks += len(mine)
            return
        self.state = delivery.settle(self.state, outcomes, claimant, now)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_nothing_is_lost_and_nothing_said_twice_but_what_was_not_marked(steps):
    rules = configuration(resolve_after="10m", cooldown="1h")
    world, wrong, ever = World(rules), {}, set()
    for step in steps:
        world.step(*step)
        if step[2] != "before the commit":
            wrong |= {key: not value for key, value in zip(KEYS, step[1], strict=True) if value is not None}
            ever |= {key for key, value in wrong.items() if value}
    # then everything stays as it is, until all has been said
    last = tuple(not wrong.get(key, False) for key in KEYS)
    for _ in range(14):
        world.step("B", last, "", 15)
    assert world.state.waiting == 0
    times = Counter(id_ for id_, _, _ in world.received)
    assert sum(times.values()) - len(times) <= world.lost_marks
    for (table, check), right in zip(KEYS, last, strict=True):
        incident = next((each for key, each in world.state.incidents.items() if key[1:] == (table, check)), None)
        said = [
            each.status
            for each in {id_: each for id_, _, each in world.received}.values()
            if each.table == table and check in [item["subject"] for item in each.content["incidents"]]
        ]
        # one message that it is wrong, one that it is right again, and so on
        assert said == [("opened", "resolved")[number % 2] for number in range(len(said))]
        assert (incident is not None and incident.state == IncidentState.OPEN) == (not right)
        assert len(said) % 2 == (0 if right else 1)
        assert (table, check) in ever or not said
    opened = sorted(
        {each.created_at for _, _, each in world.received if each.status == "opened" and each.table == "raw.b"}
    )
    assert all(b - a >= timedelta(minutes=56) for a, b in pairwise(opened))
    assert {each.state for each in world.state.messages.values()} <= {MessageState.SENT}


def test_what_cannot_be_looked_at_for_too_long_is_wrong_itself():
    watching = Watching(configuration())

    def unknown(at, **more):
        return verdict(None, NOW + at, **{"wrong_after": minutes(60), **more})

    watching.round(minutes(0), unknown(minutes(0)))
    watching.round(minutes(59), unknown(minutes(59)))
    assert watching.sent == [], "it may pass by itself"
    watching.round(minutes(60), unknown(minutes(60)))
    watching.round(minutes(65), unknown(minutes(65)))
    assert watching.sent == ["opened to team"]
    watching.round(minutes(70), passed(minutes(70)))
    watching.round(minutes(80), passed(minutes(80)))
    assert watching.sent == ["opened to team", "resolved to team"]


@pytest.mark.parametrize("between", [True, None])
def test_what_could_not_be_looked_at_starts_anew_once_something_was_said(between):
    watching = Watching(configuration())
    for at in (0, 50, 70, 120):
        watching.round(minutes(at), verdict(None, NOW + minutes(at), wrong_after=minutes(60)))
        if at == 50:
            watching.round(minutes(60), verdict(between, NOW + minutes(60)))
    assert watching.sent == []
    watching.round(minutes(130), verdict(None, NOW + minutes(130), wrong_after=minutes(60)))
    assert watching.sent == ["opened to team"]


def test_what_is_wrong_does_not_wait_and_what_is_open_stays_as_it_is():
    watching = Watching(configuration())
    watching.round(minutes(0), verdict(None, NOW, wrong_after=minutes(60)))
    watching.round(minutes(5), failed(minutes(5)))
    assert watching.sent == ["opened to team"]
    assert [each.since for each in watching.state.incidents.values()] == [NOW + minutes(5)]
    watching.round(minutes(90), verdict(None, NOW + minutes(90), wrong_after=minutes(60)))
    assert watching.sent == ["opened to team"]


def test_a_rule_with_a_bound_of_its_own_is_about_no_other():
    kind, ages = RuleKind.FRESHNESS, [{"older_than": "7d"}, {}]
    rules = [{"name": f"r{number}", "kind": kind, "to": ["team"], **age} for number, age in enumerate(ages)]
    found = Configuration.model_validate({"rules": rules})
    for name, subject, expected in ((None, "policy", "r1"), ("r0", "r0", "r0"), (None, "r0", "r1")):
        seen = verdict(rule=kind, check=subject, rule_name=name)
        assert rule_for(found, seen) == found.rule(expected)
    assert rule_for(Configuration.model_validate({"rules": rules[:1]}), verdict(rule=kind, check="policy")) is None


def test_a_check_that_is_called_like_a_rule_is_selected_like_any_other():
    found = configuration(name="null_check(id)".replace("(", ".").replace(")", ""), tables=["gold.*"])
    assert rule_for(found, verdict(check=found.rules[0].name, table="raw.readings")) is None


def test_what_flaps_faster_than_it_would_open_is_heard_of_all_the_same():
    watching = Watching(configuration(open_after="5m"))
    for number in range(60):
        watching.round(minutes(number), (failed if number % 2 else passed)(minutes(number)))
    assert watching.sent == ["opened to team"]
    watching = Watching(configuration(open_after="5m", resolve_after="0s"))
    for number in range(60):
        watching.round(minutes(number), (failed if number % 2 else passed)(minutes(number)))
    assert watching.sent == [], "one good check ends it, as the rule says"
