from __future__ import annotations

import statistics
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from include.replay import activity, glucose
from include.replay.recordings import Recordings
from tests.expect import expect
from tests.samples import sample

END = date(2024, 1, 30)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return Recordings.open(tmp_path_factory.mktemp("replay"), 30, 7, END, "octo-phlo")


@pytest.fixture
def small(tmp_path):
    return lambda end=END: Recordings.open(tmp_path, 2, 7, end, "octo-phlo")


def shape(documents):
    """Return the types seen for each key; null says nothing about a type."""
    types: dict[str, set[type]] = {}
    for document in documents:
        for key, value in document.items():
            types.setdefault(key, set()).update({type(value)} - {type(None)})
    return types


def assert_fits(ours, real, *, all_keys=True):
    ours, real = shape(ours), shape(real)
    assert not set(ours) - set(real), "keys that the real API does not have"
    if all_keys:
        assert set(ours) == set(real)
    for key, types in ours.items():
        assert not types or not real[key] or types <= real[key], key


def stargazers(recordings):
    return {one["full_name"]: one["stargazers_count"] for one in recordings.repositories}


def broken(event):
    return "id" not in event or event["created_at"] == "not-a-date"


def test_thirty_days_of_288_plausible_readings_and_a_bad_one(recordings):
    days = {}
    for entry in recordings.entries:
        days.setdefault(str(datetime.fromtimestamp(entry["date"] / 1000, UTC).date()), []).append(entry)
    assert list(days) == [str(END - timedelta(days=back)) for back in range(30)]
    for entries in days.values():
        good = [entry["sgv"] for entry in entries if not glucose.is_broken(entry)]
        assert len(good) == 288
        assert len(entries) == 289
        assert 40 <= min(good) <= max(good) <= 400


def test_a_month_has_every_fault(recordings):
    broken_ones = [entry for entry in recordings.entries if glucose.is_broken(entry)]
    assert all(any(entry[field] == value for entry in broken_ones) for field, value in glucose.FAULTS)


def test_the_curve_looks_like_a_person(recordings):
    levels = [entry["sgv"] for entry in recordings.entries if not glucose.is_broken(entry)]
    in_range = statistics.mean(70 <= level <= 180 for level in levels)
    assert 0.62 <= in_range <= 0.78
    assert any(level < 70 for level in levels)
    assert any(level > 250 for level in levels)
    steps = [abs(one - other) for one, other in pairwise(levels)]
    assert statistics.mean(steps) < 6
    assert max(steps) < 45


def test_ids_are_unique_and_like_mongodbs(recordings):
    ids = [entry["_id"] for entry in recordings.entries]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 24 and int(one, 16) for one in ids)
    events = [event["id"] for event in recordings.events if "id" in event]
    assert len(set(events)) == len(events)
    assert events == sorted(events, reverse=True)


def test_one_event_a_day_is_broken(recordings):
    assert sum(map(broken, recordings.events)) == 30
    assert len(recordings.events) > 200


def test_a_day_is_the_same_whatever_the_window():
    assert glucose.entries_of(END, 7) == glucose.entries_of(END, 7)
    assert glucose.entries_of(END, 7) != glucose.entries_of(END, 8)
    assert activity.events_of(END, 7, "o") == activity.events_of(END, 7, "o")


def test_entries_have_the_shape_of_real_ones(recordings):
    good = [entry for entry in recordings.entries if not glucose.is_broken(entry)]
    assert_fits(good, sample("nightscout/entries_sample.json"))


def test_the_profile_has_the_shape_of_a_real_one(recordings):
    assert_fits([recordings.profile], sample("github/user_sample.json"))


def test_repositories_have_the_shape_of_real_ones(recordings):
    real = sample("github/user_repos_sample.json")
    assert_fits(recordings.repositories, real)
    assert_fits([one["owner"] for one in recordings.repositories], [one["owner"] for one in real])


def test_events_have_the_shape_of_real_ones(recordings):
    real = sample("github/events_sample.json")
    assert_fits(recordings.events, real)
    for key in ("actor", "repo", "org"):
        ours = [event[key] for event in recordings.events if key in event]
        assert_fits(ours, [event[key] for event in real if key in event])


@pytest.mark.parametrize("kind", list(activity.PAYLOADS))
def test_payloads_have_the_shape_of_real_ones(recordings, kind):
    ours = [event["payload"] for event in recordings.events if event["type"] == kind]
    real = [event["payload"] for event in sample("github/events_sample.json") if event["type"] == kind]
    assert ours
    assert_fits(ours, real)
    for key in ("issue", "comment", "pull_request"):
        inner = [payload[key] for payload in ours if key in payload]
        assert_fits(inner, [payload[key] for payload in real if key in payload], all_keys=False)
    commits = [commit for payload in ours for commit in payload.get("commits", [])]
    assert_fits(commits, [commit for payload in real for commit in payload.get("commits", [])])


def test_a_misreading_is_there_until_the_next_advance(small):
    def values(recordings):
        now = datetime.combine(END, datetime.max.time(), UTC)
        return {entry["_id"]: entry["sgv"] for entry in recordings.readings(END, END, now)}

    recordings = small()
    before = values(recordings)
    recordings.misread_once()
    wrong = {key for key, value in values(recordings).items() if value != before[key]}
    assert [values(recordings)[key] for key in wrong] == [glucose.MISREAD]
    assert values(small()) == values(recordings)  # a server that starts again remembers it
    recordings.advance()
    assert glucose.MISREAD not in values(recordings).values()
    assert glucose.MISREAD not in values(small()).values()


def test_an_advance_corrects_adds_and_is_remembered(small):
    recordings = small()
    before = {entry["_id"]: entry for entry in recordings.entries}
    events, stars = len(recordings.events), stargazers(recordings)
    assert recordings.advance() == {"advances": 1, "corrected_entries": 5, "late_entries": 3, "new_events": 3}
    after = {entry["_id"]: entry for entry in recordings.entries}
    changed = [after[one] for one in before if before[one] != after[one]]
    late = [after[one] for one in after if one not in before]
    assert len(changed) == 5
    assert len(late) == 3
    assert all(entry["dateString"].startswith(str(END)) and 40 <= entry["sgv"] <= 400 for entry in changed + late)
    assert len(recordings.events) == events + 3
    assert not any(map(broken, recordings.events[:3]))
    gained = {name: count - stars[name] for name, count in stargazers(recordings).items() if count != stars[name]}
    assert gained == {"octo-phlo/lakehouse-notes": 4}
    again = small()
    expect(again, entries=recordings.entries, events=recordings.events)
    assert again.repositories == recordings.repositories


def test_a_restart_on_a_later_day_keeps_the_past(small):
    recordings = small()
    recordings.advance()
    past = {entry["_id"]: entry for entry in recordings.entries if entry["dateString"].startswith(str(END))}
    later = small(END + timedelta(days=1))
    assert {entry["_id"]: entry for entry in later.entries if entry["_id"] in past} == past
    much_later = small(END + timedelta(days=9))
    assert len(much_later.entries) == 2 * 289
    ids = [event["id"] for event in later.events if "id" in event]
    assert ids == sorted(ids, reverse=True)


def test_case_52_events_go_on_after_the_window_of_recordings_that_move(tmp_path):
    moving = Recordings.open(tmp_path, 2, 7, END, "octo-phlo", moving=True)
    morning, evening = (datetime(2024, 2, 1, hour, tzinfo=UTC) for hour in (9, 23))
    assert moving.happened(morning)[-len(moving.events) :] == moving.events
    assert len(moving.events) < len(moving.happened(morning)) < len(moving.happened(evening))
    ids = [event["id"] for event in moving.happened(evening) if "id" in event]
    assert ids == sorted(ids, reverse=True)
    moving.moving = False
    assert moving.happened(evening) == moving.events
