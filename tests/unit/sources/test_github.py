from __future__ import annotations

import json
import os
from pathlib import Path

import dlt
import pytest
from dlt.extract.exceptions import ResourceExtractionError
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import ConfigurationError, SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.github import connection_arguments, github
from airflow_provider_phlo.sources.http import Limits
from tests.sizes import size


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
    """Return what ``user_events`` yields inside a pipeline, whose state outlives the run."""
    items: list[dict[str, object]] = []
    source.user_events.add_map(lambda item: items.append(item) or item)
    pipeline.extract(source.with_resources("user_events"))
    return [item["id"] for item in items]


def cause(function, *arguments):
    """Return our error, out of those that dlt wraps around it."""
    with pytest.raises(ResourceExtractionError) as caught:
        function(*arguments)
    return caught.value.__cause__


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
    return dlt.pipeline("phlo_test", pipelines_dir=str(tmp_path))


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


@pytest.mark.parametrize(
    ("status", "setting"), [(401, "GITHUB_TOKEN"), (403, "GITHUB_TOKEN"), (404, "GITHUB_USERNAME")]
)
def test_a_refusal_names_connection_and_setting(server, reply, make, status, setting):
    server.replies(reply({"message": "no"}, status, {"X-RateLimit-Remaining": "59"}))
    error = cause(read, make(conn_id="my_github"), "user_profile")
    assert isinstance(error, SourceRejectedError)
    for word in ("my_github", "AIRFLOW_CONN_MY_GITHUB", setting, str(status)):
        assert word in str(error)


def test_a_rate_limit_is_waited_for_and_never_a_refusal(server, reply, make, patience):
    def limited(seconds):
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(patience.now + seconds))}
        return reply({"message": "API rate limit exceeded"}, 403, headers)

    server.replies(limited(90), reply([{"id": "1"}]))
    assert read(make(), "user_events") == [{"id": "1"}]
    assert patience.slept == [90]
    server.replies(limited(90))
    error = cause(read, make(max_wait_seconds=60), "user_events")
    assert isinstance(error, SourceUnavailableError)
    assert "The limit resets at 2023-11-14T22:16:20Z, in 90 s" in str(error)
    assert "GITHUB_TOKEN" in str(error)


@pytest.mark.parametrize("body", [{"message": "hello"}, [1, 2], None])
def test_json_of_another_shape_is_rejected(server, reply, make, body):
    server.replies(reply(body))
    assert isinstance(cause(read, make(), "user_events"), SourceRejectedError)


def test_a_profile_that_is_not_an_object_is_rejected(server, reply, make):
    server.replies(reply([]))
    assert "not an object" in str(cause(read, make(), "user_profile"))


def test_a_user_without_events_is_not_an_error(server, reply, make):
    server.replies(reply([]))
    assert read(make(), "user_events") == []


def test_an_unchanged_page_is_asked_for_and_not_read_again(server, reply, make, pipeline):
    api = Api(server, reply, [[{"id": "1"}, {"id": "1b"}], [{"id": "2"}, {"id": "2b"}], [{"id": "3"}]])
    assert extract(pipeline, make()) == ["1", "1b", "2", "2b", "3"]
    assert [request.headers.get("if-none-match") for request in server.requests] == [None] * 3
    server.requests.clear()
    assert extract(pipeline, make()) == []
    assert len([request for request in server.requests if request.headers.get("if-none-match")]) == 3
    api.pages[1] = [{"id": "2"}, {"id": "2c"}]
    assert extract(pipeline, make()) == ["2", "2c"]
    assert extract(pipeline, make(conditional=False)) == ["1", "1b", "2", "2c", "3"]


def test_another_account_starts_without_memory_and_nothing_piles_up(server, reply, make, pipeline):
    api = Api(server, reply, [[{"id": "1"}], [{"id": "2"}]])
    assert extract(pipeline, make()) == ["1", "2"]
    assert extract(pipeline, make(login="other")) == ["1", "2"]
    api.pages.pop()
    api.pages[0] = [{"id": "9"}]
    assert extract(pipeline, make(login="other")) == ["9"]
    state = pipeline.state["sources"]["github"]["resources"]["user_events"]
    assert list(state["pages"]) == [f"{server.url}/users/other/events?per_page=100"]
    assert server.url in state["account"]


def test_a_reading_that_broke_off_is_read_again(server, reply, make, pipeline):
    api = Api(server, reply, [[{"id": "1"}], [{"id": "2"}]])
    server.route = lambda request: reply("oops", 500) if "page" in request.query else api.route(request)
    with pytest.raises(PipelineStepFailed, match="answered 500"):
        extract(pipeline, make())
    server.route = api.route
    assert extract(pipeline, make()) == ["1", "2"]


def test_a_304_that_nobody_asked_for_is_not_an_answer(server, reply, make):
    server.replies(reply(status=304))
    assert isinstance(cause(read, make(), "user_events"), SourceRejectedError)


def test_a_server_without_etag_link_and_limits_works_twice(server, reply, make, pipeline):
    server.replies(reply([{"id": "1"}]))
    assert extract(pipeline, make()) == ["1"]
    assert extract(pipeline, make()) == ["1"]


def test_a_paging_loop_is_an_error(server, reply, make):
    def route(request):
        other = "b" if request.query.get("cursor") == ["a"] else "a"
        link = f'<{server.url}/users/octo/events?cursor={other}>; rel="next"'
        return reply([{"id": other}], headers={"Link": link})

    server.route = route
    error = cause(read, make(), "user_events")
    assert isinstance(error, SourceRejectedError)
    assert "was read before: pages would be missed" in str(error)
    assert len(server.requests) == 3


def test_a_next_link_to_another_host_is_rejected_before_a_token_leaves(server, serve, reply, make):
    other = serve()
    server.replies(reply([{"id": "1"}], headers={"Link": f'<{other.url}/x>; rel="next"'}))
    error = cause(read, make(token="ghp_t"), "user_events")
    assert isinstance(error, SourceRejectedError)
    assert "leave the host" in str(error)
    assert other.requests == []


def test_real_link_headers_lead_on(server, reply, make):
    """Each recorded header is given as it was, but for the host."""
    for sample in json.loads(shared("github/link_headers_sample.json").read_text()):
        link = sample["link"].replace("https://api.github.com", server.url)
        server.requests.clear()
        server.replies(reply([{"id": "1"}], headers={"Link": link}), reply([{"id": "2"}]))
        expected = ["1", "2"] if 'rel="next"' in link else ["1"]
        assert [event["id"] for event in read(make(), "user_events")] == expected
        if len(expected) == 2:
            assert server.requests[1].query["page"] == ["2"]


def test_real_events_arrive_as_they_are(server, reply, make):
    events = json.loads(shared("github/events_sample.json").read_text())
    Api(server, reply, [events[:30], events[30:]])
    assert read(make(), "user_events") == events


def test_connection_arguments(connection):
    assert connection_arguments(connection("github_default", login="octo")) == {
        "base_url": "https://api.github.com",
        "login": "octo",
        "token": None,
        "conn_id": "github_default",
    }
    mine = connection("mine", host="http://127.0.0.1:99/github", login=" octo ", password="ghp_t")
    assert connection_arguments(mine)["base_url"] == "http://127.0.0.1:99/github"
    assert connection_arguments(mine)["login"] == "octo"
    assert connection_arguments(mine)["token"] == "ghp_t"
    with pytest.raises(ConfigurationError, match=r"mine: no GitHub user.*GITHUB_USERNAME.*AIRFLOW_CONN_MINE"):
        connection_arguments(connection("mine", host="api.github.com"))


class Collection:
    """
    Items in pages of at most ``cap``, as GitHub answers them: the ETag covers the items of a page and nothing else.

    :param links_on_304: whether "not modified" repeats the Link header.
    """

    def __init__(self, server, reply, items, *, cap=100, links_on_304=False):
        self.server, self.reply, self.items, self.cap, self.links_on_304 = server, reply, items, cap, links_on_304
        server.route = self.route

    def route(self, request):
        page = int(request.query.get("page", ["1"])[0])
        size = min(int(request.query["per_page"][0]), self.cap)
        found = [{"id": item} for item in self.items[(page - 1) * size : page * size]]
        headers = {"ETag": f'"{hash(json.dumps(found))}"'}
        unchanged = request.headers.get("if-none-match") == headers["ETag"]
        if page * size < len(self.items) and (self.links_on_304 or not unchanged):
            target = f"{self.server.url}{request.path}?per_page={size}&page={page + 1}"
            headers["Link"] = f'<{target}>; rel="next"'
        return self.reply(status=304, headers=headers) if unchanged else self.reply(found, headers=headers)


@pytest.mark.long
@pytest.mark.parametrize("links_on_304", [False, True])
@pytest.mark.parametrize(
    ("per_page", "cap", "count"),
    [(100, 100, 100), (100, 100, 200), (7, 100, 14), (100, 30, 30), (100, 30, 60), (1, 100, 1), (500, 100, 300)],
)
def test_case_25_a_full_page_does_not_hide_the_one_after_it(
    server, reply, make, pipeline, per_page, cap, count, links_on_304
):
    collection = Collection(server, reply, list(range(count)), cap=cap, links_on_304=links_on_304)
    read = set(extract(pipeline, make(per_page=per_page)))
    collection.items.append(count)
    read |= set(extract(pipeline, make(per_page=per_page)))
    assert read == set(range(count + 1))
    collection.items.append(count + 1)
    read |= set(extract(pipeline, make(per_page=per_page)))
    assert read == set(range(count + 2))


@pytest.mark.long
@settings(max_examples=size(40, 400), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_case_25_conditional_readers_see_what_unconditional_ones_see(server, reply, make, tmp_path_factory, data):
    """Items come at the end or the start, go, and change, in pages of any size: a reader knows the same in the end."""
    pipeline = dlt.pipeline("phlo_test", pipelines_dir=str(tmp_path_factory.mktemp("dlt")))
    cap, per_page = data.draw(st.sampled_from([5, 10])), data.draw(st.sampled_from([2, 3, 5, 100]))
    links_on_304 = data.draw(st.booleans())
    collection = Collection(server, reply, list(range(cap)), cap=cap, links_on_304=links_on_304)
    known = set()
    for step in range(1, 5):
        count = data.draw(st.integers(0, 2 * cap))
        new = [1000 * step + number for number in range(count)]
        collection.items = data.draw(st.sampled_from([collection.items + new, new + collection.items, new]))
        known |= set(extract(pipeline, make(per_page=per_page)))
        assert set(collection.items) <= known


def test_case_25_a_page_that_is_surely_not_full_is_not_read_again(server, reply, make, pipeline):
    Collection(server, reply, list(range(108)))
    assert len(extract(pipeline, make())) == 108
    assert extract(pipeline, make()) == []


def test_an_empty_page_in_the_middle_and_relative_links_are_followed(server, reply, make):
    links = [{"Link": f"<{target}>; rel=next"} for target in ("?page=2", "/users/7/events?page=3")]
    server.replies(reply([{"id": "1"}], headers=links[0]), reply([], headers=links[1]), reply([{"id": "2"}]))
    assert [event["id"] for event in read(make(), "user_events")] == ["1", "2"]


def test_endless_pages_end(server, reply, make):
    def route(request):
        number = int(request.query.get("page", ["1"])[0])
        return reply([{"id": number}], headers={"Link": f"<{server.url}/x?page={number + 1}>; rel=next"})

    server.route = route
    error = cause(read, make(limits=Limits(pages=20)), "user_events")
    assert isinstance(error, SourceRejectedError)
    assert "leads to more than 20 pages" in str(error)
    assert len(server.requests) == 20


@pytest.mark.parametrize("token", ["ghp_ž", "ghp_\u2013x", "ghp_\nx"])
def test_case_13_a_token_with_a_letter_that_no_token_has(make, token):
    with pytest.raises(ConfigurationError, match=r"github_default: the header Authorization cannot be sent"):
        make(token=token)


def test_a_login_that_no_user_has_is_refused(make):
    for login in ("oc\ud83dto", "oc\nto", "\x00"):
        with pytest.raises(ConfigurationError, match="no GitHub user is named"):
            make(login=login)
