"""What one client may ask, alone and over several threads."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from airflow_provider_phlo.exceptions import SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.budget import Budget
from airflow_provider_phlo.sources.http import JsonClient

NOW = 1_700_000_000.0


def headers(remaining: object, reset: float = NOW + 30, **more: str) -> dict[str, str]:
    return {"X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": str(int(reset)), **more}


@pytest.mark.parametrize(
    ("reserve", "remaining", "limit", "closed"),
    [
        (0, 1, None, False),
        (0, 0, None, True),
        (100, 101, "5000", False),
        (100, 100, "5000", True),
        # without a token there are 60: a tenth of them is left, not all
        (100, 7, "60", False),
        (100, 6, "60", True),
        # a server that does not say how many there are has no reserve either
        (100, 1, None, False),
        (0, "", None, False),
        (0, "-1", None, False),
        (0, "9" * 400, None, False),
    ],
)
def test_nothing_is_asked_when_the_reserve_is_reached(reserve, remaining, limit, closed):
    budget = Budget(reserve)
    budget.note(headers(remaining, **({"X-RateLimit-Limit": limit} if limit else {})), NOW)
    assert budget.closed_for(NOW) == (30 if closed else 0)
    assert budget.closed_for(NOW + 31) == 0


def test_turns_come_at_even_intervals():
    budget = Budget(requests_per_minute=900)
    assert [budget.take_turn(NOW) for _ in range(4)] == pytest.approx([0, 1 / 15, 2 / 15, 3 / 15], abs=1e-6)
    # time that was not used is not made up for
    assert budget.take_turn(NOW + 60) == 0
    assert budget.take_turn(NOW + 60) == pytest.approx(1 / 15, abs=1e-6)


def test_waits_of_several_threads_count_once():
    budget = Budget()
    assert [budget.count_wait(10, NOW, 15) for _ in range(8)] == [True] * 8
    assert budget.count_wait(14, NOW + 1, 15)
    assert not budget.count_wait(10, NOW + 20, 15)


def test_threads_keep_the_pace_together(server, reply):
    server.replies(reply([]))
    client = JsonClient(server.url, "some_api", budget=Budget(requests_per_minute=60 * 50))
    started = time.monotonic()
    threads = [threading.Thread(target=lambda: [client.get("/x") for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 20
    assert time.monotonic() - started >= 19 / 50


def test_no_thread_asks_when_one_has_met_the_limit(server, reply):
    """Whatever is under way when the limit is met: at most as many requests exceed it as there are threads."""
    limited = reply({"message": "You have exceeded a secondary rate limit"}, 403, {"Retry-After": "900"})
    answered = []

    def route(request):
        answered.append(request)
        return reply([]) if len(answered) <= 10 else limited

    server.route = route
    client = JsonClient(server.url, "some_api")
    errors = []

    def ask():
        try:
            for _ in range(100):
                client.get("/x")
        except SourceUnavailableError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    assert len(answered) <= 14
    assert all(error.answers for error in errors)


def test_the_error_says_when_to_come_back(server, reply, patience):
    server.replies(reply({}, 429, {"Retry-After": "3000"}))
    with pytest.raises(SourceUnavailableError) as caught:
        JsonClient(server.url, "some_api", retry=patience.policy()).get("/x")
    assert caught.value.retry_at == datetime.fromtimestamp(patience.now + 3000, UTC)
    assert caught.value.answers == 0


def test_a_time_that_no_calendar_has_is_not_waited_for(server, reply, patience):
    server.replies(reply({}, 429, {"Retry-After": "9" * 14}))
    with pytest.raises(SourceUnavailableError) as caught:
        JsonClient(server.url, "some_api", retry=patience.policy()).get("/x")
    assert caught.value.retry_at is None


def test_a_busy_server_says_when_to_come_back_only_if_it_asked_for_long(server, reply, patience):
    for after, known in (("3600", True), ("1", False)):
        server.replies(reply("busy", 503, {"Retry-After": after}))
        with pytest.raises(SourceUnavailableError) as caught:
            JsonClient(server.url, "some_api", retry=patience.policy(attempts=2)).get("/x")
        assert (caught.value.retry_at is not None) is known


def test_a_refusal_carries_its_status(server, reply, patience):
    server.replies(reply({}, 451))
    with pytest.raises(SourceRejectedError) as caught:
        JsonClient(server.url, "some_api", retry=patience.policy()).get("/x")
    assert caught.value.status == 451
