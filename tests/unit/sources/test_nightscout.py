from __future__ import annotations

import hashlib
import json
import logging
import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from dlt.extract.exceptions import ResourceExtractionError

from airflow_provider_phlo.exceptions import ConfigurationError, SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.http import Limits
from airflow_provider_phlo.sources.nightscout import connection_arguments, day_window, nightscout

START, END = day_window("2024-01-15")
FIRST = int(START.timestamp() * 1000)
LAST = int(END.timestamp() * 1000)


def entry(number: int, moment: object, **fields: object) -> dict[str, object]:
    return {"_id": f"{number:024x}", "date": moment, "sgv": 100 + number % 80, "type": "sgv", **fields}


def day(count: int = 288) -> list[dict[str, object]]:
    return [entry(number, FIRST + number * 300_000) for number in range(count)]


class Site:
    """A little Nightscout: newest first, at most ``cap`` entries, with the filters it is asked for."""

    def __init__(self, server, reply, entries, *, cap=1000, obeys=("$gte", "$lt", "type", "count")):
        self.reply, self.entries, self.cap, self.obeys = reply, entries, cap, obeys
        server.route = self.route

    def route(self, request):
        asked = {name: values[0] for name, values in request.query.items()}
        found = sorted(self.entries, key=lambda item: item["date"], reverse=True)
        if "$gte" in self.obeys:
            found = [item for item in found if item["date"] >= int(asked["find[date][$gte]"])]
        if "$lt" in self.obeys:
            found = [item for item in found if item["date"] < int(asked["find[date][$lt]"])]
        if "type" in self.obeys:
            found = [item for item in found if item["type"] == asked.get("find[type]", item["type"])]
        count = int(asked["count"]) if "count" in self.obeys else len(found)
        return self.reply(found[: min(count, self.cap)])


@pytest.fixture
def read(server, patience):
    def entries(secret=None, **arguments):
        arguments = {"start": START, "end": END, "retry": patience.policy(attempts=2), **arguments}
        return list(nightscout(server.url, secret, **arguments))

    return entries


def ids(entries):
    return sorted({item["_id"] for item in entries})


def cause(function, *arguments):
    with pytest.raises(ResourceExtractionError) as caught:
        function(*arguments)
    return caught.value.__cause__


def test_case_13_a_name_twice_spoils_its_own_entry_only(server, reply, read):
    good = json.dumps(day(3))[1:]
    odd = f'"type": "sgv", "date": {FIRST}.5, "sgv": 100'
    server.replies(
        reply(f'[{{"_id": "odd", {odd}, "sgv": 9}}, {{"_id": "in", {odd}, "x": {{"a": 1, "a": 2}}}}, {good}'), reply([])
    )
    assert sorted(each["_id"] for each in read()) == sorted(["odd", "in", *ids(day(3))])


@pytest.mark.parametrize(("cap", "page_size"), [(1000, 1000), (100, 1000), (1000, 50), (7, 10), (2, 1000)])
def test_a_day_is_complete_whatever_the_page_size(server, reply, read, cap, page_size):
    Site(server, reply, day(), cap=cap)
    assert ids(read(page_size=page_size)) == ids(day())
    assert len(server.requests) < 300


def test_the_request_names_window_and_count(server, reply, read):
    Site(server, reply, [])
    assert read() == []
    assert len(server.requests) == 1
    assert server.requests[0].path == "/api/v1/entries.json"
    assert server.requests[0].query == {
        "find[date][$gte]": ["1705276800000"],
        "find[date][$lt]": ["1705363200000"],
        "count": ["1000"],
    }


@pytest.mark.parametrize("cap", [4, 5, 100])
def test_entries_of_one_millisecond_survive_a_page_border(server, reply, read, cap):
    entries = day(20) + [entry(100 + number, FIRST + 300_000 * 10) for number in range(2)]
    Site(server, reply, entries, cap=cap)
    assert ids(read()) == ids(entries)


def test_a_page_of_one_millisecond_is_asked_for_larger(server, reply, read):
    entries = [*day(5), *(entry(100 + number, FIRST + 600_000) for number in range(9))]
    Site(server, reply, entries)
    assert ids(read(page_size=4)) == ids(entries)


@pytest.mark.parametrize("cap", [2, 3, 4, 9])
def test_what_a_cap_may_hide_is_an_error(server, reply, read, cap):
    Site(server, reply, [*day(5), *(entry(100 + number, FIRST + 600_000) for number in range(9))], cap=cap)
    error = cause(read)
    assert isinstance(error, SourceRejectedError)
    assert f"answered {cap} entries of one millisecond" in str(error)


def test_entries_of_one_millisecond_alone_in_their_window_hide_nothing(server, reply, read):
    entries = [entry(number, FIRST + 5) for number in range(3)]
    Site(server, reply, entries)
    assert ids(read()) == ids(entries)


@pytest.mark.parametrize("cap", [1, 5, 50, 1000])
@pytest.mark.parametrize("obeys", [(), ("count",), ("$gte",), ("$lt",), ("type", "count")])
def test_a_site_that_ignores_filters_is_filtered_here_or_refused(server, reply, read, cap, obeys):
    around = [entry(900, FIRST - 1), entry(901, LAST), entry(902, FIRST + 5, type="mbg"), *day(40)]
    Site(server, reply, around, cap=cap, obeys=obeys)
    found, refused = None, None
    try:
        found = ids(read())
    except ResourceExtractionError as error:
        refused = error.__cause__
    assert isinstance(refused, SourceRejectedError) if cap < len(around) and refused else found == ids(day(40))
    assert len(server.requests) < 100


def test_a_site_that_answers_the_same_for_ever_ends(server, reply, read):
    server.replies(reply([entry(number, LAST + number) for number in range(3)]))
    assert "answered 3 entries, none of the time asked for" in str(cause(read))
    server.replies(reply(day(3)))
    assert ids(read()) == ids(day(3))
    server.replies(reply([entry(1, None)]))
    assert ids(read()) == ids([entry(1, None)])


def test_what_validation_has_to_judge_is_kept(server, reply, read):
    odd = [
        entry(1, None),
        entry(2, "2024-01-15"),
        {"_id": "x", "sgv": 100, "date": FIRST},
        entry(3, FIRST, sgv=None),
        entry(4, float(FIRST)),
        entry(5, str(FIRST)),
        {"sgv": 90, "type": "sgv"},
    ]
    gone = [{"_id": "m", "mbg": 100, "date": FIRST}, entry(6, FIRST, type="mbg"), entry(7, LAST), entry(8, FIRST - 1)]
    server.replies(reply(odd + gone), reply([]))
    assert read() == odd


def test_an_empty_day_and_a_day_in_the_future_have_no_entries(server, reply, read):
    Site(server, reply, day())
    assert read(start="2024-01-16", end="2024-01-17") == []
    assert read(start="2999-01-01", end="2999-01-02") == []


@pytest.mark.parametrize(
    ("secret", "auth", "header", "token"),
    [
        ("my-api-secret-12", None, hashlib.sha1(b"my-api-secret-12").hexdigest(), None),
        ("A" * 40, None, "a" * 40, None),
        ("reader-0123456789abcdef", None, None, "reader-0123456789abcdef"),
        ("reader-0123456789abcdef", "secret", hashlib.sha1(b"reader-0123456789abcdef").hexdigest(), None),
        ("my-api-secret-12", "token", None, "my-api-secret-12"),
        (None, None, None, None),
        ("", "token", None, None),
    ],
)
def test_the_secret_goes_where_nightscout_looks_for_it(server, reply, read, secret, auth, header, token):
    server.replies(reply([]))
    read(secret, auth=auth)
    assert server.requests[0].headers.get("api-secret") == header
    assert server.requests[0].query.get("token") == ([token] if token else None)


def test_a_wrong_secret_names_the_connection_and_not_the_secret(server, reply, read, caplog):
    server.replies(reply({"status": 401, "message": "Unauthorized"}, 401))
    with caplog.at_level(logging.INFO):
        error = cause(read, "reader-0123456789abcdef")
    assert isinstance(error, SourceRejectedError)
    assert "nightscout_default" in str(error)
    assert "Set password" in str(error)
    assert "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT" in str(error)
    assert "0123456789abcdef" not in str(error) + caplog.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>starting up</html>", SourceUnavailableError),
        ('[{"_id": "1", "sg', SourceUnavailableError),
        ({"status": "ok"}, SourceRejectedError),
        ([1, 2], SourceRejectedError),
    ],
)
def test_a_body_that_is_not_a_list_of_objects(server, reply, read, body, kind):
    server.replies(reply(body))
    assert isinstance(cause(read), kind)


def test_a_failing_page_fails_the_reading(server, reply, read):
    site = Site(server, reply, day(), cap=100)
    server.route = lambda request: site.route(request) if len(server.requests) < 3 else reply("oops", 500)
    assert isinstance(cause(read), SourceUnavailableError)


@pytest.mark.parametrize(
    "arguments",
    [
        {"start": "2024-01-16", "end": "2024-01-16"},
        {"start": "2024-01-17", "end": "2024-01-16"},
        {"start": "soon"},
        {"page_size": 0},
        {"auth": "basic"},
    ],
)
def test_wrong_arguments(read, arguments):
    with pytest.raises(ConfigurationError):
        read(**arguments)


@pytest.mark.parametrize(
    "start", ["2024-01-15", date(2024, 1, 15), datetime(2024, 1, 15), "2024-01-15T01:00:00+01:00", START]
)
def test_a_start_is_a_day_or_a_moment(server, reply, read, start):
    server.replies(reply([]))
    read(start=start)
    assert server.requests[0].query["find[date][$gte]"] == [str(FIRST)]


def test_day_window():
    assert day_window("2024-01-15") == (datetime(2024, 1, 15, tzinfo=UTC), datetime(2024, 1, 16, tzinfo=UTC))
    for wrong in ("2024-13-01", "yesterday", "", "9999-12-31"):
        with pytest.raises(ConfigurationError, match="YYYY-MM-DD"):
            day_window(wrong)


def test_connection_arguments(server, reply, connection):
    given = connection("nightscout_default", host=server.url, password="my-api-secret-12", extra={"auth": "secret"})
    arguments = connection_arguments(given)
    assert arguments == {
        "base_url": server.url,
        "secret": "my-api-secret-12",
        "conn_id": "nightscout_default",
        "auth": "secret",
    }
    server.replies(reply([]))
    assert list(nightscout(**arguments, start=START, end=END)) == []
    with pytest.raises(ConfigurationError, match="nightscout_default: the connection has no host"):
        connection_arguments(connection("nightscout_default"))


def test_an_address_may_end_with_the_path_of_the_api(server, reply, patience):
    server.replies(reply([]))
    list(nightscout(f"{server.url}/site/api/v1/", start=START, end=END))
    assert server.requests[0].path == "/site/api/v1/entries.json"


def test_real_entries_arrive_as_they_are(server, reply, read):
    beside = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("PHLO_SHARED_DATA", beside)) / "nightscout" / "entries_sample.json"
    if not path.exists():
        pytest.skip("no real samples here (set PHLO_SHARED_DATA)")
    entries = json.loads(path.read_text())
    Site(server, reply, entries, cap=100)
    found = read(start="2015-06-01", end="2015-07-01")
    assert {item["_id"]: item for item in found} == {item["_id"]: item for item in entries}


def test_case_27_a_fraction_of_a_millisecond_is_cut(server, reply, read):
    """As Loop and Trio write dates; in text, as others do."""
    dates = [FIRST + 81.73, float(FIRST + 1), f"{FIRST + 2}.9996", str(FIRST + 3), f"{FIRST + 4}.", FIRST + 5]
    entries = [entry(number, moment) for number, moment in enumerate(dates)]
    server.replies(reply(entries), reply([]))
    found = read()
    assert [item["date"] for item in found] == [FIRST + 81, FIRST + 1, FIRST + 2, str(FIRST + 3), FIRST + 4, FIRST + 5]
    assert [type(item["date"]) for item in found][:3] == [int, float, int]
    assert [{**item, "date": 0} for item in found] == [{**item, "date": 0} for item in entries]


def test_case_27_fractional_dates_page_and_filter_as_whole_ones(server, reply, read):
    entries = [entry(number, FIRST + number * 60_000 + 0.5) for number in range(60)]
    Site(server, reply, [*entries, entry(900, LAST - 0.3), entry(901, LAST + 0.3), entry(902, FIRST - 0.3)], cap=7)
    found = read()
    assert ids(found) == ids([*entries, entry(900, 0)])
    assert len(found) == 61
    assert all(isinstance(item["date"], int) for item in found)


@pytest.mark.parametrize(
    "date",
    [
        pytest.param("9" * 5000, id="5,000 digits as text"),
        *("1e12", "-5", "1705276800000.5.5", "", " 1705276800000", "\u0663", "1705276800000.\u0663"),
        *(True, None, [], {}, 10**30, -(10**17), 1e300, float("nan"), float("inf")),
    ],
)
def test_case_13_an_unusable_date_is_for_validation_to_judge(server, reply, read, date):
    server.replies(reply([{**entry(900, date), "_id": "odd"}, entry(1, FIRST)]), reply([]))
    assert "odd" in ids(read())


def test_case_13_an_integer_of_5000_digits_spoils_its_own_entry_only(server, reply, read):
    good = json.dumps(day(3))[1:]
    server.replies(reply(f'[{{"_id": "odd", "sgv": 100, "type": "sgv", "date": {"9" * 5000}}}, {good}'), reply([]))
    assert ids(read()) == sorted(["odd", *ids(day(3))])


@pytest.mark.parametrize(("cap", "page_size"), [(1000, 1000), (100, 1000), (7, 10), (2, 1000), (1, 1)])
def test_case_30_each_entry_is_read_once(server, reply, read, cap, page_size):
    entries = day(40)
    Site(server, reply, entries, cap=cap)
    found = read(page_size=page_size)
    assert len(found) == len(entries)
    assert ids(found) == ids(entries)


@pytest.mark.parametrize("obeys", [(), ("count",), ("$gte",), ("$lt", "$gte"), ("type", "count")])
def test_case_30_each_entry_is_read_once_whatever_the_site_ignores(server, reply, read, obeys):
    entries = day(40)
    Site(server, reply, entries, cap=1000, obeys=obeys)
    found = read()
    assert sorted(item["_id"] for item in found) == ids(entries)


def test_case_30_a_bad_oldest_entry_is_read_once(server, reply, read):
    bad = entry(7, FIRST, sgv=None)
    Site(server, reply, [bad, *day(3)[1:]])
    assert [item for item in read() if item["sgv"] is None] == [bad]


def test_equal_entries_of_one_page_are_both_kept(server, reply, read):
    twin = {"sgv": 90, "type": "sgv", "date": FIRST + 5}
    server.replies(reply([twin, twin]), reply([twin, twin]), reply([]))
    assert read() == [twin, twin]


def test_an_entry_that_is_edited_while_it_is_read_comes_again(server, reply, read):
    old, new = entry(1, FIRST + 5, sgv=100), entry(1, FIRST + 5, sgv=120)
    server.replies(reply([entry(2, FIRST + 9), old]), reply([new]), reply([]))
    assert [item["sgv"] for item in read() if item["_id"] == old["_id"]] == [100, 120]


def test_entries_nested_too_deeply_to_compare_are_kept(server, reply, read):
    deep = '{"a":' * 800 + "1" + "}" * 800
    body = f'[{{"_id": "deep", "sgv": 100, "type": "sgv", "date": {FIRST + 5}, "x": {deep}}}]'
    server.replies(reply(body), reply([]))
    assert ids(read()) == ["deep"]


def test_a_site_that_never_ends_is_refused(server, reply, read):
    moments = iter(range(LAST - 1, FIRST, -1))
    server.route = lambda request: reply([entry(1, next(moments))])
    error = cause(lambda: read(limits=Limits(pages=30)))
    assert isinstance(error, SourceRejectedError)
    assert "leads to more than 30 pages" in str(error)


def test_a_secret_that_is_not_text_is_a_clear_error(read):
    for auth in (None, "token", "secret"):
        with pytest.raises(
            ConfigurationError, match=r"nightscout_default: the password has characters that UTF-8 lacks"
        ):
            read("pa\udcffss-word", auth=auth)


def test_a_secret_in_any_letters_is_hashed_as_nightscout_does(server, reply, read):
    server.replies(reply([]))
    read("žluťoučký kůň")
    assert server.requests[0].headers["api-secret"] == hashlib.sha1("žluťoučký kůň".encode()).hexdigest()


def test_entries_of_uploaders_that_write_no_type_are_read(server, reply, read):
    """As Tomato does; other types are left out here."""
    plain = {"_id": "plain", "sgv": 100, "date": FIRST + 5}
    others = [{"_id": "m", "mbg": 100, "date": FIRST}, {"_id": "c", "slope": 1, "type": "cal", "date": FIRST}]
    server.route = lambda request: reply([] if "find[type]" in request.query else [plain, *others, entry(1, FIRST)])
    assert ids(read()) == sorted(["plain", *ids([entry(1, FIRST)])])


def test_a_site_whose_newest_entries_hide_the_window_is_refused(server, reply, read):
    """It ignores dates, and what it answers ends before the window begins: nothing read would be wrong, and green."""
    Site(server, reply, [*day(5), *(entry(100 + number, LAST + number) for number in range(50))], obeys=("count",))
    error = cause(lambda: read(page_size=20))
    assert isinstance(error, SourceRejectedError)
    assert "answered a full page of entries, none of the time asked for" in str(error)
    assert ids(read(page_size=100)) == ids(day(5))
