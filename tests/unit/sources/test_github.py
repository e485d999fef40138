from __future__ import annotations

import json
import os
from pathlib import Path

import dlt
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.github import connection_arguments, github


def shared(name: str) -> Path:
    beside = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("PHLO_SHARED_DATA", beside)) / name
    if not path.exists():
        pytest.skip(f"no real samples here: {path.name} (set PHLO_SHARED_DATA)")
    return path


def read(source, resource):
    """Return what one resource yields outside a pipeline."""
    return list(source.with_resources(resource))


def extract(pipeline, source):
    """Extract into a pipeline, which keeps the state, and return how many items there were."""
    pipeline.extract(source)
    rows = {name: metrics.items_count for name, metrics in pipeline.last_trace.last_extract_info.metrics[
        pipeline.last_trace.last_extract_info.loads_ids[0]][0]["resource_metrics"].items()}
    pipeline.drop_pending_packages()
    return rows


class Api:
    """A little GitHub: pages of events with links, ETags and, on demand, a 304."""

    def __init__(self, server, reply, pages, *, links="page={}"):
        self.server, self.reply, self.pages, self.links = server, reply, pages, links
        self.unchanged = True
        server.route = self.route

    def route(self, request):
        number = int(request.query.get("page", request.query.get("cursor", ["1"]))[0])
        items = self.pages[number - 1]
        etag = f'W/"{hash(json.dumps(items))}"'
        headers = {"ETag": etag}
        if number < len(self.pages):
            link = f"{self.server.url}/user/7/events?per_page=100&{self.links.format(number + 1)}"
            headers["Link"] = f'<{link}>; rel="next"'
        if request.headers.get("if-none-match") == etag:
            return self.reply(status=304, headers={"ETag": etag})
        return self.reply(items, headers=headers)


@pytest.fixture
def make(server, patience):
    def source(**arguments):
        arguments = {"login": "octo", "retry": patience.policy(), **arguments}
        return github(server.url, **arguments)

    return source


@pytest.fixture
def pipeline(tmp_path):
    def make(name="phlo_test"):
        return dlt.pipeline(name, pipelines_dir=str(tmp_path), destination="duckdb")

    return make


@pytest.mark.parametrize("links", ["page={}", "since=3&page={}", "cursor={}"])
def test_events_follow_the_links(server, reply, make, links):
    pages = [[{"id": "1"}, {"id": "2"}], [{"id": "2"}, {"id": "3"}], [{"id": "4"}]]
    Api(server, reply, pages, links=links)
    assert [event["id"] for event in read(make(), "user_events")] == ["1", "2", "2", "3", "4"]


def test_requests_carry_what_github_asks_for(server, reply, make):
    server.replies(reply({"login": "octo"}))
    assert read(make(token="ghp_t"), "user_profile") == [{"login": "octo"}]
    server.replies(reply([{"id": 1}]))
    assert read(make(per_page=50), "user_repos") == [{"id": 1}]
    profile, repos = server.requests
    assert profile.path == "/users/octo"
    assert profile.headers["authorization"] == "Bearer ghp_t"
    assert profile.headers["accept"] == "application/vnd.github+json"
    assert profile.headers["x-github-api-version"] == "2022-11-28"
    assert repos.path == "/users/octo/repos"
    assert repos.query == {"per_page": ["50"], "sort": ["full_name"]}
    assert "authorization" not in repos.headers
    assert "if-none-match" not in repos.headers


def test_a_login_is_quoted(server, reply, make):
    server.replies(reply([]))
    read(make(login="a/../b?c"), "user_events")
    assert server.requests[0].path == "/users/a%2F..%2Fb%3Fc/events"


@pytest.mark.parametrize("login", ["", "  "])
def test_an_empty_login_names_what_to_set(make, login):
    with pytest.raises(ConfigurationError, match=r"github_default.*GITHUB_USERNAME.*AIRFLOW_CONN_GITHUB_DEFAULT"):
        make(login=login)


def test_arguments_are_not_taken_from_the_configuration_of_dlt(server, reply, make, monkeypatch):
    for name in ("TOKEN", "SOURCES__GITHUB__TOKEN", "LOGIN"):
        monkeypatch.setenv(name, "from-elsewhere")
    server.replies(reply({"login": "octo"}))
    read(make(), "user_profile")
    assert server.requests[0].path == "/users/octo"
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(("status", "setting"), [(401, "GITHUB_TOKEN"), (403, "GITHUB_TOKEN"), (404, "GITHUB_USERNAME")])
def test_a_refusal_names_connection_and_setting(server, reply, make, status, setting):
    server.replies(reply({"message": "no"}, status, {"X-RateLimit-Remaining": "59"}))
    with pytest.raises(Exception, match="") as caught:
        read(make(conn_id="my_github"), "user_profile")
    cause = caught.value.__cause__ or caught.value
    assert isinstance(cause, SourceRejectedError)
    for word in ("my_github", "AIRFLOW_CONN_MY_GITHUB", setting, str(status)):
        assert word in str(cause)


def test_a_rate_limit_is_waited_for_and_never_a_refusal(server, reply, make, patience):
    reset = str(int(patience.now) + 90)
    limited = reply({"message": "API rate limit exceeded"}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset})
    server.replies(limited, reply([{"id": "1"}]))
    assert read(make(), "user_events") == [{"id": "1"}]
    assert patience.slept == [90]
    server.replies(limited)
    with pytest.raises(Exception, match="resets at .*GITHUB_TOKEN") as caught:
        read(make(max_wait_seconds=1, retry=patience.policy()), "user_events") and None
        patience.now = float(reset) - 50
        read(make(max_wait_seconds=1), "user_events")
    assert isinstance(caught.value.__cause__ or caught.value, SourceUnavailableError)


def test_unchanged_pages_are_asked_for_but_not_read_again(server, reply, make, pipeline):
    api = Api(server, reply, [[{"id": "1"}], [{"id": "2"}], [{"id": "3"}]])
    source = make().with_resources("user_events")
    pipeline().extract(source)
    assert [request.headers.get("if-none-match") for request in server.requests] == [None] * 3
    server.requests.clear()

    first = make().with_resources("user_events")
    pipeline().extract(first)
    assert all(request.headers["if-none-match"] for request in server.requests)
    assert len(server.requests) == 3

    server.requests.clear()
    api.pages[1] = [{"id": "2"}, {"id": "2b"}]
    again = pipeline()
    again.drop_pending_packages()
    again.extract(make().with_resources("user_events"))
    assert len(server.requests) == 3
    assert counts(again) == {"user_events": 2}


def counts(pipeline):
    """Return the rows of each resource in the pipeline's last extraction."""
    info = pipeline.last_trace.last_extract_info
    metrics = info.metrics[info.loads_ids[-1]][0]["resource_metrics"]
    return {name: value.items_count for name, value in metrics.items() if not name.startswith("_dlt")}
