from __future__ import annotations

import socket
import time
import traceback
from email.utils import formatdate

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.address import base_url
from airflow_provider_phlo.sources.http import JsonClient, records


def client(url, patience, **settings):
    return JsonClient(url, "some_api", retry=patience.policy(**settings))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_json_is_returned_with_the_next_link(server, reply, patience):
    server.replies(reply([{"a": 1}], headers={"Link": '</x?page=2>; rel="next", </x?page=9>; rel="last"'}))
    answer = client(server.url, patience).get("/x", params={"q": "1"})
    assert answer.body == [{"a": 1}]
    assert answer.next_url == f"{server.url}/x?page=2"
    assert server.requests[0].query == {"q": ["1"]}
    assert server.requests[0].headers["user-agent"].startswith("airflow-provider-phlo/")


def test_a_server_that_is_down_is_unavailable_after_the_attempts(patience):
    port = closed_port()
    with pytest.raises(SourceUnavailableError, match=r"some_api: GET http://127\.0\.0\.1:\d+/x .*after 5 attempts"):
        client(f"http://127.0.0.1:{port}", patience).get("/x")
    assert len(patience.slept) == 4
    assert 0.25 <= patience.slept[0] <= 0.5
    assert 2.0 <= patience.slept[3] <= 4.0


def test_a_server_that_never_answers_is_unavailable(patience):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(SourceUnavailableError, match="got no answer in time"):
            client(url, patience, attempts=2, read_timeout_seconds=0.1).get("/x")


def test_the_default_policy_gives_up_in_seconds(patience):
    with pytest.raises(SourceUnavailableError):
        client(f"http://127.0.0.1:{closed_port()}", patience).get("/x")
    assert sum(patience.slept) < 10


def test_no_pause_is_longer_than_the_policy_allows(patience):
    with pytest.raises(SourceUnavailableError, match="after 12 attempts"):
        client(f"http://127.0.0.1:{closed_port()}", patience, attempts=12, max_backoff_seconds=3).get("/x")
    assert max(patience.slept) <= 3
    assert len(patience.slept) == 11


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 207])
def test_only_200_is_a_whole_answer(server, reply, patience, status):
    """A list of 202 may be empty because it is not made yet."""
    server.replies(reply([], status), reply([], status), reply([1]))
    assert client(server.url, patience).get("/x").body == [1]
    server.replies(*[reply([], status)] * 5)
    with pytest.raises(SourceUnavailableError, match=f"answered {status}, not yet a whole answer, after 5 attempts"):
        client(server.url, patience).get("/x")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_a_passing_error_is_retried(server, reply, patience, status):
    server.replies(reply("oops", status), reply("oops", status), reply({"ok": True}))
    assert client(server.url, patience).get("/x").body == {"ok": True}
    assert len(patience.slept) == 2


def test_endless_errors_end(server, reply, patience):
    server.replies(reply("oops", 500))
    with pytest.raises(SourceUnavailableError, match="answered 500, after 3 attempts"):
        client(server.url, patience, attempts=3).get("/x")
    assert len(server.requests) == 3


def test_retry_after_of_a_busy_server_is_obeyed(server, reply, patience):
    server.replies(reply("busy", 503, {"Retry-After": "7"}), reply([]))
    assert client(server.url, patience).get("/x").body == []
    assert patience.slept == [7]


def test_a_busy_server_that_asks_for_too_long_is_unavailable_at_once(server, reply, patience):
    server.replies(reply("busy", 503, {"Retry-After": "3600"}))
    with pytest.raises(SourceUnavailableError, match="answered 503"):
        client(server.url, patience).get("/x")
    assert patience.slept == []


def test_a_truncated_answer_is_retried_then_unavailable(server, reply, patience):
    server.replies(reply([1, 2, 3], length=4000), reply([1, 2, 3]))
    assert client(server.url, patience).get("/x").body == [1, 2, 3]
    server.replies(reply([1, 2, 3], length=4000))
    with pytest.raises(SourceUnavailableError, match=r"truncated|lost it"):
        client(server.url, patience).get("/x")


def test_json_cut_short_with_a_fitting_length_is_unavailable(server, reply, patience):
    server.replies(reply('[{"a": 1}, {"b'))
    with pytest.raises(SourceUnavailableError, match="not JSON"):
        client(server.url, patience, attempts=2).get("/x")


def test_a_page_for_json_is_retried_then_unavailable(server, reply, patience):
    page = reply("<html>maintenance</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    server.replies(page, reply({"ok": True}))
    assert client(server.url, patience).get("/x").body == {"ok": True}
    server.replies(page)
    with pytest.raises(SourceUnavailableError, match=r"not JSON \(text/html\).*AIRFLOW_CONN_SOME_API"):
        client(server.url, patience).get("/x")


@pytest.mark.parametrize("status", [206, 300, 301, 400, 401, 403, 404, 405, 410, 422, 451])
def test_a_refusal_fails_at_once_and_names_the_connection(server, reply, patience, status):
    server.replies(reply({"message": "no"}, status))
    source = JsonClient(server.url, "some_api", advice={401: "the password"}, retry=patience.policy())
    with pytest.raises(SourceRejectedError, match=rf"some_api.*answered {status}.*AIRFLOW_CONN_SOME_API"):
        source.get("/x")
    assert len(server.requests) == 1


def test_no_secret_reaches_message_or_traceback(server, reply, patience):
    secret = "s3-" * 3  # not as a literal: a traceback shows the lines of this test
    dead = f"http://127.0.0.1:{closed_port()}"
    server.replies(reply("no", 401))
    for url in (server.url, dead):
        source = JsonClient(url, "some_api", headers={"api-secret": secret}, retry=patience.policy())
        with pytest.raises((SourceRejectedError, SourceUnavailableError)) as caught:
            source.get("/x", params={"token": secret})
        shown = "".join(traceback.format_exception(caught.value)) + repr(source)
        assert secret not in shown
        assert caught.value.__context__ is None


def test_a_rate_limit_waits_for_its_reset(server, reply, patience):
    reset = str(int(patience.now) + 30)
    limited = reply({"message": "x"}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset})
    server.replies(limited, reply([]))
    assert client(server.url, patience).get("/x").body == []
    assert patience.slept == [30]


def test_a_real_clock_waits_for_a_reset_in_one_second(server, reply):
    started = time.time()
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(started) + 1)}
    server.route = lambda request: reply([]) if time.time() >= int(started) + 1 else reply({}, 403, headers)
    assert JsonClient(server.url, "some_api").get("/x").body == []
    assert time.time() - started < 4


@pytest.mark.parametrize("status", [403, 429])
def test_retry_after_in_seconds_or_as_a_date(server, reply, patience, status):
    date = formatdate(patience.now + 12, usegmt=True)
    server.replies(reply({}, status, {"Retry-After": "5"}), reply({}, status, {"Retry-After": date}), reply([]))
    assert client(server.url, patience).get("/x").body == []
    assert patience.slept == pytest.approx([5, 7], abs=1)


@pytest.mark.parametrize("status", [403, 422])
def test_a_limit_without_headers_waits_a_minute(server, reply, patience, status):
    server.replies(reply({"message": "You have exceeded a secondary rate limit."}, status), reply([]))
    assert client(server.url, patience).get("/x").body == []
    assert patience.slept == [60]


def test_a_limit_that_outlasts_the_patience_says_when_it_resets(server, reply, patience):
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(patience.now) + 3000)}
    server.replies(reply({}, 403, headers))
    with pytest.raises(SourceUnavailableError, match=r"resets at 2023-11-14T23:03:20Z, in 3000 s"):
        client(server.url, patience).get("/x")
    assert patience.slept == []


def test_limits_that_lift_at_once_for_ever_end(server, reply, patience):
    server.replies(reply({}, 429, {"Retry-After": "0"}))
    with pytest.raises(SourceUnavailableError, match="rate limit"):
        client(server.url, patience).get("/x")
    assert len(server.requests) < 10


def test_no_request_is_made_in_a_window_that_is_used_up(server, reply, patience):
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(patience.now) + 20)}
    server.replies(reply([1], headers=headers), reply([2]))
    source = client(server.url, patience)
    assert source.get("/x").body == [1]
    assert patience.slept == []
    assert source.get("/x").body == [2]
    assert patience.slept == [20]


def test_redirects_stay_on_the_host(server, serve, reply, patience):
    other = serve()
    other.replies(reply([]))
    server.route = lambda request: (
        reply([1]) if request.path == "/new" else reply(None, 301, {"Location": request.query.get("to", ["/old"])[0]})
    )
    source = JsonClient(server.url, "some_api", headers={"Authorization": "Bearer t"}, retry=patience.policy())
    assert source.get("/old", params={"to": "/new"}).body == [1]
    with pytest.raises(SourceRejectedError, match="leave the host"):
        source.get("/old", params={"to": f"{other.url}/x"})
    with pytest.raises(SourceRejectedError, match="redirected more than"):
        source.get("/old", params={"to": "/old"})
    assert other.requests == []


def test_a_url_of_another_host_is_not_requested(server, serve, patience):
    other = serve()
    with pytest.raises(SourceRejectedError, match="leave the host"):
        client(server.url, patience).get(f"{other.url}/x")
    assert other.requests == []


def test_credentials_of_a_netrc_file_are_not_sent(server, reply, patience, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.replies(reply([]))
    JsonClient(server.url, "c", headers={"Authorization": "Bearer ours"}, retry=patience.policy()).get("/x")
    assert server.requests[0].headers["authorization"] == "Bearer ours"


def test_loopback_ignores_the_proxy_of_the_environment(server, reply, patience, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    server.replies(reply([7]))
    assert client(server.url, patience).get("/x").body == [7]


def test_records_is_a_list_of_objects(server, patience):
    source = client(server.url, patience)
    assert records(source, server.url, [{"a": 1}]) == [{"a": 1}]
    for body in ({"a": 1}, [1], None, "text", [{"a": 1}, None]):
        with pytest.raises(SourceRejectedError, match="not a list of objects"):
            records(source, server.url, body)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "http://127.0.0.1:8080/path/"}, "http://127.0.0.1:8080/path"),
        ({"host": "https://example.org"}, "https://example.org"),
        ({"host": "example.org"}, "https://example.org"),
        ({"host": "example.org", "schema": "http"}, "http://example.org"),
        ({"host": "example.org", "port": 8443}, "https://example.org:8443"),
        ({"host": "https://example.org/api", "port": 8443}, "https://example.org:8443/api"),
        ({"host": "https://example.org:1", "port": 8443}, "https://example.org:1"),
        ({"host": "127.0.0.1", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "localhost:8080"}, "http://localhost:8080"),
        ({"host": "[::1]", "port": 80}, "http://[::1]:80"),
        ({}, "https://default.example"),
    ],
)
def test_base_url(connection, fields, expected):
    assert base_url(connection(**fields), default="https://default.example/") == expected


def test_base_url_without_host_or_default(connection):
    with pytest.raises(ConfigurationError, match=r"some_api: the connection has no host.*AIRFLOW_CONN_SOME_API"):
        base_url(connection())


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "https://user:pw-s3cret@example.org"},
        {"host": "https://example.org/?token=s3cret"},
        {"host": "ftp://s3cret.example.org"},
        {"host": "https://example.org:s3cret"},
        {"host": "example.org", "schema": "s3cret"},
    ],
)
def test_base_url_refuses_what_is_not_a_site_without_repeating_it(connection, fields):
    with pytest.raises(ConfigurationError, match="some_api: host has to be") as caught:
        base_url(connection(**fields))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("root", ["", "example.org", "file:///etc/passwd", "http://"])
def test_a_root_that_is_not_a_url_is_a_configuration_error(root):
    with pytest.raises(ConfigurationError, match="not an http"):
        JsonClient(root, "some_api")


def test_a_host_name_that_cannot_be_one_is_rejected(patience):
    with pytest.raises(SourceRejectedError, match="not a request that can be sent"):
        client("http://*.example.org", patience).get("/x")
