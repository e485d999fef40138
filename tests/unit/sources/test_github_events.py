from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.exceptions import SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.github_api import connection_arguments
from airflow_provider_phlo.sources.github_events import fetch_public_events
from tests.unit.sources.test_github import shared


@pytest.fixture
def fetch(server, patience):
    def fetch(**options):
        return fetch_public_events(server.url, conn_id="github_default", retry=patience.policy(), **options)

    return fetch


def pages(server, reply, *contents, headers=None):
    """Serve pages that lead to each other; the first has an ETag and says 304 to who knows it."""

    def route(request):
        number = int(request.query.get("page", ["1"])[0])
        more = {"Link": f'<{server.url}/events?page={number + 1}>; rel="next"'} if number < len(contents) else {}
        if request.headers.get("if-none-match") == 'W/"1"':
            return reply(status=304, headers=headers or {})
        return reply(contents[number - 1], headers={"ETag": 'W/"1"', **more, **(headers or {})})

    server.route = route


def test_all_pages_each_event_once(server, reply, fetch):
    first, second, third = ({"id": str(number), "type": "PushEvent"} for number in range(3))
    pages(server, reply, [first, second], [second, {"type": "without id"}, {**first, "type": "another"}], [third])
    found = fetch(token="t")
    assert found.events == [first, second, {"type": "without id"}, {**first, "type": "another"}, third]
    assert (found.repeated, found.etag, found.modified) == (1, 'W/"1"', True)
    assert [request.path for request in server.requests] == ["/events"] * 3
    assert server.requests[0].query == {"per_page": ["100"]}
    assert server.requests[0].headers["authorization"] == "Bearer t"


def test_what_is_known_costs_one_request_and_no_limit(server, reply, fetch):
    pages(server, reply, [{"id": "1"}], headers={"X-Poll-Interval": "90"})
    found = fetch(etag='W/"1"')
    assert (found.events, found.etag, found.modified, found.poll_seconds) == ([], 'W/"1"', False, 90.0)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({}, 60), ({"X-Poll-Interval": "60"}, 60), ({"X-Poll-Interval": "-1"}, 60), ({"X-Poll-Interval": "soon"}, 60)]
    + [({"X-Poll-Interval": text}, 3600) for text in ("99999", "999999999")]
    + [({"X-Poll-Interval": "9" * 50}, 60), ({"X-Poll-Interval": "²"}, 60)],
)
def test_the_poll_interval(server, reply, fetch, header, seconds):
    if not all(value.isascii() for value in header.values()):
        header = {name: value.encode().decode("latin-1") for name, value in header.items()}
    pages(server, reply, [{"id": "1"}], headers=header)
    assert fetch().poll_seconds == seconds


@pytest.mark.parametrize("body", [{}, ["text"], None, 5])
def test_json_of_another_service_is_refused(server, reply, fetch, body):
    pages(server, reply, body)
    with pytest.raises(SourceRejectedError, match="not a list of objects"):
        fetch()


def test_pages_that_lead_in_a_circle(server, reply, fetch):
    link = {"Link": f'<{server.url}/events?page=2>; rel="next"'}
    server.route = lambda request: reply([{"id": "1"}], headers=link)
    with pytest.raises(SourceRejectedError, match="was read before"):
        fetch()


def test_github_is_down(server, reply, fetch):
    server.replies(reply(status=503))
    with pytest.raises(SourceUnavailableError, match="answered 503, after"):
        fetch()


def test_real_events(server, reply, fetch):
    events = json.loads(shared("github/events_sample.json").read_text())
    pages(server, reply, events[:30], events[29:])
    found = fetch()
    assert (found.events, found.repeated) == (events, 1)


def test_a_connection_without_a_user_will_do(connection):
    assert connection_arguments(connection("gh", password="t")) == {
        "base_url": "https://api.github.com",
        "token": "t",
        "conn_id": "gh",
    }
