from __future__ import annotations

import itertools
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.events.published import publish
from airflow_provider_phlo.events.queries import (
    NESTED_BY_REPOSITORY,
    TOP_REPOS,
    USER_SESSIONS,
    Interruption,
    PublishedEvents,
)
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from tests.sizes import size
from tests.unit.events.database import NOW, Event, load, open_database

HALF_HOUR = timedelta(minutes=30)
DAYS = 2
SINCE = NOW - timedelta(days=DAYS)

# times cluster around what decides: the half hour, the beginning of the window, the same instant twice
moments = st.builds(
    lambda hours, nudge: NOW - timedelta(hours=hours) + timedelta(seconds=nudge),
    st.sampled_from([0, 0.5, 1, 24, 47, 47.5, 48, 48.5, 49, 2000]),
    st.sampled_from([-1800, -1, 0, 0, 1, 1799]),
)
drawn_events = st.lists(
    st.builds(
        Event,
        event_id=st.integers().map(str),
        event_type=st.sampled_from(["PushEvent", "WatchEvent"]),
        created_at=st.none() | moments,
        actor=st.none() | st.integers(1, 3),
        repo=st.none() | st.integers(1, 4),
    ),
    unique_by=lambda event: event.event_id,
    max_size=40,
)


@pytest.fixture
def ask(tmp_path):
    """Return a function that publishes events, in two loads, and asks them."""
    counter = itertools.count()

    def ask(events, query, *, days=DAYS, limit=1000):
        folder = tmp_path / str(next(counter))
        with open_database() as connection:
            for part in (events[::2], events[1::2]):
                load(connection, part)
                publish(connection, folder)
        return PublishedEvents(folder).ask(query, days=days, limit=limit, now=NOW)

    return ask


def repos(events):
    found = defaultdict(list)
    for event in events:
        if event.repo_name is not None and event.created_at is not None and event.created_at >= SINCE:
            found[event.repo_name].append(event)
    rows = [
        (
            name,
            len(own),
            len({event.actor for event in own} - {None}),
            sum(event.event_type == "PushEvent" for event in own),
            min(event.created_at for event in own),
            max(event.created_at for event in own),
            NOW,
        )
        for name, own in found.items()
    ]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def sessions(events):
    """Of all events ever, as the window must not cut a session."""
    rows = []
    for login in {event.actor_login for event in events} - {None}:
        times = sorted(event.created_at for event in events if event.actor_login == login and event.created_at)
        session = []
        for moment in [*times, None]:
            if session and (moment is None or moment - session[-1] > HALF_HOUR):
                start = session[0]
                rows.append((login, f"{login}-{start:%Y%m%dT%H%M%SZ}", start, session[-1], len(session)))
                session = []
            session.append(moment)
    return sorted((row for row in rows if row[2] >= SINCE), key=lambda row: (-row[2].timestamp(), row[0]))


@pytest.mark.long
@given(data=st.data(), events=drawn_events)
@settings(max_examples=size(60, 2000), deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_those_of_plain_python(ask, data, events):
    limit = data.draw(st.integers(1, 10))
    assert ask(events, TOP_REPOS, limit=limit).rows == repos(events)[:limit]
    assert ask(events, USER_SESSIONS, limit=limit).rows == sessions(events)[:limit]


def test_columns_and_an_answer_without_rows(ask):
    columns = ["repo_name", "total_events", "unique_users", "push_events", "first_event_at", "last_event_at"]
    assert ask([], TOP_REPOS).columns == [*columns, "processed_at"]
    columns = ["actor_login", "session_id", "session_start_at", "session_end_at", "events_in_session"]
    assert ask([], USER_SESSIONS).columns == columns
    assert ask([], USER_SESSIONS).rows == []


def test_a_pause_of_exactly_half_an_hour_ends_no_session(ask):
    times = [NOW - timedelta(hours=5), NOW - timedelta(hours=4.5), NOW - timedelta(hours=4) + timedelta(seconds=1)]
    found = ask([Event(str(number), created_at=moment) for number, moment in enumerate(times)], USER_SESSIONS)
    assert [row[-1] for row in found.rows] == [1, 2]
    assert found.rows[0][1] == "user1-20260304T080001Z"


def test_a_session_that_began_before_the_window_is_not_cut(ask):
    begun = [Event("a", created_at=SINCE - timedelta(minutes=10)), Event("b", created_at=SINCE + timedelta(minutes=10))]
    assert ask(begun, USER_SESSIONS).rows == []
    ((_, _, start, end, count),) = ask(begun, USER_SESSIONS, days=DAYS + 1).rows
    assert (end - start, count) == (timedelta(minutes=20), 2)


def test_events_nested_by_repository(ask):
    events = [Event("a"), Event("b", created_at=NOW), Event("c", repo=2), Event("d", created_at=SINCE - HALF_HOUR)]
    (row,) = ask(events, NESTED_BY_REPOSITORY, limit=1).rows
    assert (row[0], row[1], [event["event_id"] for event in row[2]]) == ("org/repo1", 2, ["b", "a"])


@pytest.mark.parametrize("bounds", [{"days": 0}, {"days": 99999999999}, {"limit": -1}, {"limit": 10_001}])
def test_numbers_out_of_bounds_are_refused(ask, bounds):
    with pytest.raises(ConfigurationError, match="give a whole number from 1 to"):
        ask([], TOP_REPOS, **bounds)


def test_the_longest_window(ask):
    event = Event("a", created_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert len(ask([event], TOP_REPOS, days=36_500).rows) == 1


def test_a_query_ends_when_nobody_waits_for_it():
    interruption = Interruption()
    with duckdb.connect() as connection:

        def ask_forever():
            with interruption.watching(connection):
                connection.execute(
                    "SELECT count(*) FROM range(1_000_000) a, range(1_000_000_000) b WHERE a.range > b.range"
                )

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask_forever)
            while not asked.done():
                interruption.request()
                time.sleep(0.01)
            with pytest.raises((duckdb.InterruptException, TransientError), match=r"(?i)interrupted"):
                asked.result()


def test_a_query_that_nobody_waits_for_does_not_begin(tmp_path):
    interruption = Interruption()
    interruption.request()
    with pytest.raises(TransientError, match="interrupted"):
        PublishedEvents(tmp_path).ask(TOP_REPOS, days=1, limit=1, interruption=interruption)
