from __future__ import annotations

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import ConfigurationError, SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.headers import limit_seconds, moment_text, next_link, reset_moment, retry_after
from airflow_provider_phlo.sources.http import JsonClient

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    "header",
    [
        '</p2>; rel="next"',
        "</p2>; rel=next",
        "</p2>;rel='next'",
        '</p2>; REL="next"',
        '</p2>; Rel = "NEXT"',
        '</p2>; rel="next last"',
        '</p2>; rel="last\tnext"',
        '</p2>; title="a; b, <c>; rel=\\"x\\""; rel="next"',
        '</p2>; rel="next"; rel="last"',
        '< /p2 >; rel="next"',
        ', ,</p9>; rel="last",,</p2>; rel="next",',
        '</p9>;rel="last" , </p2>  ;  rel="next"  ;',
        '</a,b;c>; rel="prev", </p2>; rel="next"',
        '</p9>; rel="prev"; title*=UTF-8\'\'n%c3%a4chste, </p2>; rel="next"; type=application/json',
        '</p2>; rel="next", </p3>; rel="next"',
        '</other>; rel="next"; anchor="/elsewhere", </p2>; rel="next"',
        '</p2>; crossorigin; rel="next"',
    ],
)
def test_case_31_a_next_link_is_found_however_it_is_written(header):
    assert next_link(header) == "/p2"


@pytest.mark.parametrize(
    "header",
    [
        "",
        " , ",
        "</p2>",
        '</p2>; rel="last"',
        '</p2>; rel="next-archive"',
        '</p2>; rel="http://a.example/next"',
        '</p2>; title="rel=next"; rel="prev"',
        '</p2>; rel="last"; rel="next"',
        '</p2>; rel=""',
        "</p2>; rel",
    ],
)
def test_what_is_not_a_next_link(header):
    assert next_link(header) is None


@pytest.mark.parametrize("header", ["/p2; rel=next", '<p2; rel="next"', '</p2>; rel="next', '</p2> rel="next"', '"'])
def test_a_link_header_that_cannot_be_read_is_an_error(server, reply, patience, header):
    with pytest.raises(ValueError, match="not a Link header"):
        next_link(header)
    server.replies(reply([], headers={"Link": header}))
    with pytest.raises(SourceRejectedError, match="a Link header that cannot be read"):
        JsonClient(server.url, "some_api", retry=patience.policy()).get("/x")


TOKENS = st.text(st.sampled_from("abcXYZ019-_.!*"), min_size=1, max_size=8)
QUOTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
PARAMETERS = st.lists(st.tuples(TOKENS.filter(lambda name: name.lower() not in ("rel", "anchor")), QUOTED), max_size=3)


@given(st.lists(st.tuples(PARAMETERS, st.booleans(), PARAMETERS), min_size=1, max_size=4))
def test_any_header_that_follows_the_grammar_is_read(links):
    """Written by RFC 8288 with any parameters around it, the first next link is found."""

    def written(parameters):
        quoted = ((name, text.replace("\\", "\\\\").replace('"', '\\"')) for name, text in parameters)
        return "".join(f';{name}="{text}"' for name, text in quoted)

    header = ", ".join(
        f'</p{number}>{written(before)};rel="{"next" if is_next else "prev"}"{written(after)}'
        for number, (before, is_next, after) in enumerate(links)
    )
    following = [number for number, (_, is_next, _) in enumerate(links) if is_next]
    assert next_link(header) == (f"/p{following[0]}" if following else None)


@given(st.text(st.sampled_from('<>;,="\\ \tnextrl/'), max_size=60))
def test_any_other_header_is_read_or_refused(header):
    with contextlib.suppress(ValueError):
        assert next_link(header) is None or f"<{next_link(header)}" in header.replace(" ", "").replace("\t", "")


@pytest.mark.parametrize(
    "header",
    ["<" * 65000, "</x>" + ";" * 65000, "</x>;a=" + '"\\' * 30000, ", " * 30000 + "x"],
    ids=["brackets", "semicolons", "quotes", "commas"],
)
def test_a_long_header_takes_no_time(header):
    started = time.thread_time()
    with contextlib.suppress(ValueError):
        next_link(header)
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("1700000030", 30),
        ("1700000030000", 30),
        ("1700000030000000", 30),
        ("1700000030000000000", 30),
        ("1700000030.5", 30.5),
        ("30", 30),
        ("0", 0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("1600000000", 0),
        ("99999999999999", 99999999999.999 - NOW),
        ("9" * 400, math.inf),
        ("soon", 60),
        ("-5", 60),
        ("١٢٣", 60),
        ("", 60),
    ],
)
def test_case_31_a_reset_is_read_in_any_unit(value, wait):
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": value}
    assert limit_seconds(headers, NOW) == pytest.approx(wait)
    assert moment_text(NOW, wait)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("99999999999999", 99999999999999),
        ("9" * 400, math.inf),
        ("Tue, 14 Nov 2023 22:13:27 GMT", 7),
        ("Tue, 14 Nov 2023 22:13:27 -0000", 7),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 - NOW),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Mon, 99 Foo 2023 99:99:99 GMT", None),
        ("-7", None),
        ("1e3", None),
        ("later", None),
        ("", None),
    ],
)
def test_case_31_retry_after_is_read_or_ignored(value, wait):
    assert retry_after({"Retry-After": value}, NOW) == (None if wait is None else pytest.approx(wait))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_the_reading_of_waits(one, other):
    headers = {"Retry-After": one, "X-RateLimit-Reset": other, "X-RateLimit-Remaining": "0"}
    assert limit_seconds(headers, NOW) >= 0
    reset_moment(headers, NOW)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "99999999999999"},
        {"Retry-After": "9" * 400},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999999999999999999"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 400},
    ],
)
def test_case_31_an_absurd_wait_is_the_limit_message(server, reply, patience, status, headers):
    server.replies(reply({}, status, headers))
    with pytest.raises(SourceUnavailableError, match=r"rate limit\)\. The limit resets (at|in) .*a run waits 240 s"):
        JsonClient(server.url, "some_api", retry=patience.policy()).get("/x")
    assert patience.slept == []


def test_case_31_a_reset_in_milliseconds_is_waited_for(server, reply, patience):
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(patience.now * 1000) + 30_000)}
    server.replies(reply({}, 403, headers), reply([1]), reply([2], headers=headers), reply([3]))
    source = JsonClient(server.url, "some_api", retry=patience.policy())
    assert source.get("/x").body == [1]
    assert patience.slept == [30]
    assert [source.get("/x").body, source.get("/x").body] == [[2], [3]]
    assert len(patience.slept) == 1, "the window of that limit is over"


def test_case_31_a_window_that_is_used_up_for_ever_is_the_limit_message(server, reply, patience):
    server.replies(reply([], headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 100}))
    source = JsonClient(server.url, "some_api", retry=patience.policy())
    assert source.get("/x").body == []
    with pytest.raises(SourceUnavailableError, match="has no request left"):
        source.get("/x")


def test_case_31_a_busy_server_that_asks_for_an_absurd_wait_is_unavailable(server, reply, patience):
    for value in ("99999999999999", "9" * 400):
        server.replies(reply("busy", 503, {"Retry-After": value}))
        with pytest.raises(SourceUnavailableError, match=r"answered 503, after 1 attempt\."):
            JsonClient(server.url, "some_api", retry=patience.policy()).get("/x")
    assert patience.slept == []


@pytest.mark.parametrize("letter", ["ž", "é", "\u2013", "\n", "\r\nX-Evil: 1", "\x00", "\ud83d", "\u200b"])
def test_case_13_a_token_that_no_header_carries_is_a_clear_error(letter):
    with pytest.raises(
        ConfigurationError, match=r"some_api: the header Authorization cannot be sent.*Set password"
    ) as e:
        JsonClient("http://127.0.0.1:9", "some_api", headers={"Authorization": f"Bearer ghp_{letter}secret"})
    assert "secret" not in str(e.value).replace("Admin", "")
