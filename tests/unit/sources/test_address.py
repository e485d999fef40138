from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    PhloError,
    SourceRejectedError,
)
from airflow_provider_phlo.sources.address import origin, stays_on_host
from airflow_provider_phlo.sources.http import JsonClient, RetryPolicy
from tests.sizes import size

TOKEN = "Bearer of-the-first-host-only"
ONCE = RetryPolicy(attempts=1, connect_timeout_seconds=0.5, read_timeout_seconds=0.5, sleep=lambda seconds: None)


class Host:
    """Counts what reaches it and keeps its credentials; answers with the redirect or link that a test sets."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.credentials: list[str] = []
        self.location = self.link = ""
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.credentials += [value for name, value in self.headers.items() if "ours" in name or "auth" in name]
                moved = host.location if self.path == "/moved" else ""
                content = json.dumps([{"path": self.path}]).encode()
                self.send_response_only(302 if moved else 200)
                for name, value in (("Location", moved), ("Link", host.link)):
                    if value:
                        self.wfile_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def wfile_header(self, name: str, value: str) -> None:
                """Send a header as UTF-8, as hostile servers may."""
                self._headers_buffer.append(f"{name}: {value}\r\n".encode())

            def log_message(self, *args: object) -> None:
                """Stay silent."""

        self._http = ThreadingHTTPServer((address, 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self.url = f"http://{address}:{self.port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """Return the host of the connection and another one."""
    both = Host(), Host()
    yield both
    for host in both:
        host.stop()


def client(root: str) -> JsonClient:
    return JsonClient(root, "some_api", headers={"x-auth-ours": TOKEN}, retry=ONCE)


# What URLs are made of, and what parsers stumble over; OTHER and HOME stand for host:port of two servers. The last ones
# are slash, at sign and full stop of full width, and spaces.
URL_PIECES = r"http: https: HTTP: ftp: // / \ @ : ? # ; % [ ] [::1] %40 %2f %5c %00 %09 x . .. user pw"
HOST_PIECES = "OTHER HOME OTHERPORT HOMEPORT 127.0.0.1 localhost 127.1 0 2130706433"
ODD_PIECES = ("\uff0f", "\uff20", "\u3002", "\t", " ", "\u00a0", "\u200b")
PIECES = st.sampled_from((*URL_PIECES.split(), *HOST_PIECES.split(), *ODD_PIECES))


def concrete(text: str, home: Host, other: Host) -> str:
    for name, host in (("OTHER", other), ("HOME", home)):
        text = text.replace(f"{name}PORT", str(host.port)).replace(name, f"127.0.0.1:{host.port}")
    return text


@pytest.mark.long
@settings(max_examples=size(400, 4000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, min_size=1, max_size=9).map("".join), st.sampled_from(["url", "redirect", "link"]))
@example("http://OTHER\\@HOME/x", "redirect")
@example("//OTHER\\@HOME/x", "link")
@example("http://HOME@OTHER/x", "url")
@example("http://OTHER#@HOME/x", "url")
@example("http://OTHER?@HOME/x", "redirect")
@example("/\\OTHER/x", "redirect")
@example("///OTHER/x", "link")
@example("\thttp://OTHER/x", "url")
@example("http:\\\\OTHER/x", "url")
@example("http:OTHER", "redirect")
@example("http://[::1]:OTHERPORT/x", "link")
@example("http://localhost:OTHERPORT/x", "link")
def test_case_24_credentials_stay_on_their_host(hosts, text, way):
    """Whatever a URL, a redirect or a next link looks like, urllib3 connects to the host of the connection only."""
    home, other = hosts
    home.credentials.clear()
    other.credentials.clear()
    url = concrete(text, home, other).replace("\r", "").replace("\n", "")
    home.location, home.link = (url, "") if way == "redirect" else ("", f"<{url}>; rel=next" if way == "link" else "")
    source = client(home.url)
    try:
        if way == "url":
            source.get(url)
        elif way == "redirect":
            source.get("/moved")
        else:
            answer = source.get("/first")
            if answer.next_url:
                source.get(answer.next_url)
    except PhloError:
        pass
    assert other.credentials == []


@pytest.mark.parametrize("form", ["http://{other}\\@{home}/x", "//{other}\\@{home}/x", "http://{other}/x", "//{other}"])
@pytest.mark.parametrize("way", ["redirect", "link"])
def test_case_24_a_way_out_is_refused_by_name(hosts, form, way):
    home, other = hosts
    other.credentials.clear()
    url = form.format(home=f"127.0.0.1:{home.port}", other=f"127.0.0.1:{other.port}")
    home.location, home.link = (url, "") if way == "redirect" else ("", f'<{url}>; rel="next"')
    source = client(home.url)
    with pytest.raises(SourceRejectedError, match=r"some_api: GET .* would leave the host of the connection"):
        source.get(source.get("/first").next_url if way == "link" else "/moved")
    assert other.credentials == []


def test_case_24_two_names_of_one_machine_are_two_hosts(hosts):
    home, _ = hosts
    for url in (f"http://localhost:{home.port}/x", f"http://127.0.0.2:{home.port}/x", f"http://[::1]:{home.port}/x"):
        with pytest.raises(SourceRejectedError, match="would leave the host"):
            client(home.url).get(url)


@pytest.mark.parametrize(
    "target", ["mailto:me@a.example", "file:///etc/passwd", "http://[", "javascript:1", "data:,[]"]
)
@pytest.mark.parametrize("way", ["redirect", "link"])
def test_a_target_that_is_not_http_is_refused(hosts, target, way):
    home, _ = hosts
    home.location, home.link = (target, "") if way == "redirect" else ("", f"<{target}>; rel=next")
    source = client(home.url)
    with pytest.raises(SourceRejectedError, match=r"leave the host|can be sent") as caught:
        source.get(source.get("/first").next_url if way == "link" else "/moved")
    assert "me@" not in str(caught.value)


def test_links_and_redirects_on_the_host_are_followed(hosts):
    home, _ = hosts
    home.location, home.link = "x?a=1#b", '</page/2>; rel="next"'
    answer = client(f"{home.url}/").get("/moved")
    assert answer.body == [{"path": "/x?a=1"}]
    assert answer.next_url == f"{home.url}/page/2"


@pytest.mark.parametrize(
    ("root", "url", "stays"),
    [
        ("http://a.example/x", "http://a.example:80/y", True),
        ("https://a.example", "https://a.example:443/", True),
        ("http://a.example", "https://a.example/", True),
        ("http://a.example:8080", "https://a.example/", False),
        ("https://a.example", "http://a.example/", False),
        ("https://a.example", "https://a.example:8443/", False),
        ("https://a.example", "https://b.a.example/", False),
        ("https://a.example", "https://a.example.evil.example/", False),
        ("https://a.example", "https://a.example./", False),
        ("https://a.example", "https://user@a.example/", False),
        ("https://a.example", "https://a.example:0/", False),
        ("http://[::1]:80", "http://[::1]/", True),
        ("http://[::1]", "http://[::2]/", False),
        ("nonsense", "nonsense", False),
        ("ftp://a.example", "ftp://a.example", False),
    ],
)
def test_what_is_the_same_host(root, url, stays):
    assert stays_on_host(root, url) is stays


@given(st.text(st.sampled_from("ab.:/\\@?#[]%0129 \t"), max_size=20))
def test_an_origin_is_never_a_guess(rest):
    found = origin(f"http://{rest}")
    if found is not None:
        scheme, host, port = found
        assert scheme == "http"
        assert not set(host) & set("/\\@?# ")
        assert 0 <= port <= 65535


@pytest.mark.parametrize("root", ["http://user:pw@a.example", "http://a.example:x"])
def test_a_root_that_leads_to_no_certain_host_is_refused(root):
    with pytest.raises(ConfigurationError, match="not an http") as caught:
        JsonClient(root, "some_api")
    assert "pw" not in str(caught.value)
