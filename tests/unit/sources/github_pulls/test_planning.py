"""Which pull requests a run reads: accounts, pages that shift, since, chunks."""

from __future__ import annotations

import errno
import gzip
import tracemalloc
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    SourceRejectedError,
    SourceUnavailableError,
    TransientError,
)
from airflow_provider_phlo.sources.github_pulls import working_files
from airflow_provider_phlo.sources.github_pulls.known import known_repositories
from airflow_provider_phlo.sources.github_pulls.planning import KnownRepository, read_repositories
from tests.expect import expect
from tests.unit.sources.github_pulls.organization import BEGIN, PullRequest, moment


def planned(a_run, plan):
    """Return what the chunks name, as (repository, number)."""
    found = []
    for chunk in plan.chunks:
        (content,) = working_files.read(a_run.root / chunk["chunk"])
        some = [pull for name in content["pieces"] for pull in working_files.read(a_run.root / name)]
        assert len(some) == chunk["pull_requests"]
        found += [(pull["repository"], pull["number"]) for pull in some]
    assert len(found) == len(set(found)) == plan.pull_requests
    return sorted(found)


def instants(minutes):
    return BEGIN + timedelta(minutes=minutes)


def known_repository(complete_until, **more):
    until = instants(complete_until)
    return KnownRepository(until, (3, 2, 1), "hello", **{"last_update": until, "updated_last": "{}", **more})


def known(complete_until):
    return lambda login: {100: known_repository(complete_until)}


def test_an_organisation_of_nothing_gives_nothing(organization, a_run):
    plan = a_run.plan()
    assert (plan.chunks, plan.pull_requests, plan.repositories) == ([], 0, 0)
    assert read_repositories(a_run.root, plan.folder) == []


def test_a_repository_without_pull_requests_is_recorded(organization, a_run):
    organization.repository("empty")
    plan = a_run.plan()
    assert plan.chunks == []
    assert read_repositories(a_run.root, plan.folder) == [
        {
            "organization": "octo-org",
            "repository": "empty",
            "repository_id": 100,
            "is_private": False,
            "is_fork": False,
            "is_archived": False,
            "complete_until": instants(1_000_000),
            "last_update": None,
            "updated_last": "{}",
            "rows_before": [0, 0, 0],
            "left_out": None,
            "read_at": instants(1_000_000),
        }
    ]


def test_a_users_account_in_place_of_an_organisation(organization, a_run):
    organization.kind, organization.login = "users", "Ada"
    organization.repository("hello", 2)
    plan = a_run.plan(organizations=["ada"])
    assert plan.organizations == ["Ada"]
    assert planned(a_run, plan) == [("hello", 1), ("hello", 2)]


def test_the_login_is_written_as_github_does(organization, a_run):
    organization.repository("hello", 1)
    plan = a_run.plan(organizations=["OCTO-org"])
    assert [chunk["organization"] for chunk in plan.chunks] == ["octo-org"]


def test_an_account_that_is_not_there_is_named(organization, a_run):
    with pytest.raises(SourceRejectedError, match="no organisation and no user 'nobody'"):
        a_run.plan(organizations=["octo-org", "nobody"])


def test_repositories_are_listed_once_over_all_pages(organization, a_run):
    for number in range(230):
        organization.repository(f"r{number:03}", number % 2)
    plan = a_run.plan()
    assert plan.repositories == 230
    assert len(planned(a_run, plan)) == 115


def test_a_repository_removed_while_they_are_listed_hides_no_other(organization, a_run):
    for number in range(201):
        organization.repository(f"r{number:03}", 1 if number == 100 else 0)

    def remove(request):
        if request.query.get("page") == ["2"] and len(organization.repositories) == 201:
            organization.repositories.pop(0)

    organization.before = remove
    assert ("r100", 1) in planned(a_run, a_run.plan())


def test_a_pull_request_updated_while_they_are_listed_is_not_missed(organization, a_run):
    hello = organization.repository("hello", 350)

    def update(request):
        if request.query.get("page") == ["2"] and hello.pulls[1].updated == 1:
            # from the last page to the first, which was read already
            hello.pulls[1].updated = 1000

    organization.before = update
    assert planned(a_run, a_run.plan()) == [("hello", number) for number in range(1, 351)]
    assert hello.pulls[1].updated == 1000


@pytest.mark.parametrize("page", ["2", "3"])
@pytest.mark.parametrize("etags", [True, False])
def test_a_pull_request_that_vanishes_while_they_are_listed_hides_no_other(organization, a_run, server, page, etags):
    hello = organization.repository("hello", 350)
    suspended = hello.pulls[350]

    def vanish(request):
        if request.query.get("page") == [page]:
            hello.pulls.pop(suspended.number, None)
            if page == "2":
                hello.pulls[1].updated = 1000  # the list is as long as it was

    organization.before = vanish
    if not etags:
        route = server.route
        server.route = lambda request: without_etag(route(request))
    assert {("hello", number) for number in range(1, 350)} <= set(planned(a_run, a_run.plan()))


def without_etag(reply):
    reply.headers.pop("ETag", None)
    return reply


def test_a_list_that_has_not_changed_costs_free_requests_only(organization, a_run, server):
    organization.repository("hello", 150)
    organization.repository("small", 1)
    a_run.plan()
    again = [request for request in server.requests if "if-none-match" in request.headers]
    assert [request.path for request in again] == ["/repositories/100/pulls"] * 2
    assert len(server.requests) == 7


def test_since_reads_what_was_updated_then_or_later(organization, a_run):
    organization.repository("hello", 250)
    plan = a_run.plan(since=moment(248))
    assert planned(a_run, plan) == [("hello", 248), ("hello", 249), ("hello", 250)]


def test_a_server_that_does_not_sort_hides_nothing(organization, a_run):
    hello = organization.repository("hello", 350)
    for pull in hello.pulls.values():
        pull.updated = -pull.updated
    hello.pulls[350].updated = hello.pulls[1].updated = 1000
    organization.key = lambda each: -each.number
    assert planned(a_run, a_run.plan(since=moment(500))) == [("hello", 1), ("hello", 350)]


def test_without_since_each_repository_is_read_from_where_it_is_known(organization, a_run, server):
    organization.repository("hello", 250)
    organization.repository("new", 2)
    plan = a_run.plan(known=known(complete_until=249))
    assert planned(a_run, plan) == [("hello", 249), ("hello", 250), ("new", 1), ("new", 2)]
    rows = {row["repository"]: row for row in read_repositories(a_run.root, plan.folder)}
    assert rows["hello"]["complete_until"] == rows["new"]["complete_until"] == instants(1_000_000)
    assert (rows["hello"]["rows_before"], rows["new"]["rows_before"]) == ([3, 2, 1], [0, 0, 0])


@pytest.mark.parametrize(
    ("since", "last", "complete"),
    [
        *((None, 100, 1_000_000), (50, 100, 1_000_000), (100, 100, 1_000_000), (101, 100, 100)),
        # of a repository that is new, or has lost its rows, what was before since is not read
        *((50, None, None), (None, None, 1_000_000)),
    ],
)
def test_a_later_since_hides_no_gap(organization, a_run, since, last, complete):
    organization.repository("hello", 120)
    before = known(complete_until=last) if last else lambda login: {}
    plan = a_run.plan(known=before, since=since and moment(since))
    (row,) = read_repositories(a_run.root, plan.folder)
    assert row["complete_until"] == (complete and instants(complete))


def test_what_was_known_is_kept_where_nothing_is_new(organization, a_run):
    organization.repository("hello", 5)
    plan = a_run.plan(known=known(complete_until=500))
    assert plan.chunks == []
    (row,) = read_repositories(a_run.root, plan.folder)
    assert (row["complete_until"], row["rows_before"]) == (instants(1_000_000), [3, 2, 1])


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "refuses it"), (404, "deleted"), (451, "legal reasons"), (410, "gone")]
)
def test_a_repository_that_cannot_be_read_is_left_out_by_name(organization, a_run, reply, caplog, status, reason):
    for name in ("bad", "hello"):
        organization.repository(name, 150)
    organization.before = lambda request: (
        reply({"message": "Repository access blocked"}, status)
        if "/100/" in request.path and request.query.get("page") == ["2"]
        else None
    )
    plan = a_run.plan(known=known(complete_until=7))

    assert {name for name, _ in planned(a_run, plan)} == {"hello"}
    (left,) = plan.left_out
    assert left["repository"] == "octo-org/bad"
    assert reason in left["reason"]
    assert any("octo-org/bad is left out" in message for message in caplog.messages)
    rows = {row["repository"]: row for row in read_repositories(a_run.root, plan.folder)}
    assert (rows["bad"]["left_out"], rows["hello"]["left_out"]) == (left["reason"], None)
    # the next run goes on from where this repository was complete
    assert rows["bad"]["complete_until"] == instants(7)


def test_a_token_that_may_read_no_repository_is_an_error(organization, a_run, reply):
    organization.repository("a", 1)
    organization.repository("b", 1)
    organization.before = lambda request: (
        reply({"message": "Resource not accessible"}, 403) if request.path.endswith("/pulls") else None
    )
    with pytest.raises(SourceRejectedError, match="permission to read pull requests"):
        a_run.plan()
    organization.before = lambda request: None
    assert a_run.plan().pull_requests == 2


def test_a_token_that_is_revoked_meanwhile_is_an_error(organization, a_run, reply):
    organization.repository("a", 1)
    organization.repository("b", 1)
    organization.before = lambda request: reply({}, 401) if "/101/" in request.path else None
    with pytest.raises(SourceRejectedError, match="answered 401"):
        a_run.plan()


def test_a_plan_that_met_a_limit_lists_only_what_is_missing(organization, a_run, reply, server):
    for number in range(60):
        organization.repository(f"r{number}", 1)
    answered = []

    def limited(request):
        if len(answered) >= 40:
            return reply({}, 429, {"Retry-After": "600"})
        answered.append(request)
        return None

    organization.before = limited
    with pytest.raises(SourceUnavailableError):
        a_run.plan()
    organization.before = lambda request: None
    organization.now += 60
    before = organization.requests
    plan = a_run.plan()
    assert len(planned(a_run, plan)) == 60
    assert organization.requests - before == 61 - 39
    # all of it is as complete as its first part
    assert {row["complete_until"] for row in read_repositories(a_run.root, plan.folder)} == {instants(1_000_000)}


def test_a_renamed_repository_is_listed_at_its_new_address(organization, a_run, reply):
    organization.repository("hello", 2)
    organization.before = lambda request: (
        reply(None, 301, {"Location": "/repositories/100/pulls?state=all&sort=updated&direction=desc&per_page=100"})
        if request.path == "/repos/octo-org/hello/pulls"
        else None
    )
    assert len(planned(a_run, a_run.plan())) == 2


def test_two_runs_at_once_do_not_meet(organization, a_run):
    organization.repository("hello", 3)
    other = type(a_run)(a_run.connection, a_run.root, a_run.patience, "github_pulls/2026-03-01/two")
    one, two = a_run.plan(), other.plan()
    assert sorted(each["number"] for each in a_run.read(one)) == sorted(each["number"] for each in other.read(two))
    assert not {chunk["chunk"] for chunk in one.chunks} & {chunk["chunk"] for chunk in two.chunks}


@pytest.mark.long
@pytest.mark.parametrize(
    ("pulls", "size", "most", "expected"),
    [
        ([30], 250, 24, [30]),
        ([25] * 20, 100, 24, [100] * 5),
        ([1000], 250, 24, [300, 300, 200, 200]),
        ([600, 1, 1], 250, 2, [301, 301]),
        ([90] * 9, 100, 3, [270] * 3),
    ],
)
def test_chunks_are_even_and_not_too_many(organization, a_run, pulls, size, most, expected):
    for number, count in enumerate(pulls):
        organization.repository(f"r{number}", count)
    plan = a_run.plan(chunk_size=size, max_chunks=most)
    assert sorted((chunk["pull_requests"] for chunk in plan.chunks), reverse=True) == expected
    assert len(planned(a_run, plan)) == sum(pulls)


def page_of(organization, there, count, reply, request):
    """Answer with a page of ``count`` pull requests, which are made when they are asked for."""
    if not request.path.endswith("/pulls"):
        return None
    page = int(request.query.get("page", ["1"])[0])
    last = count - (page - 1) * 100
    pulls = [organization._pull(there, PullRequest(number, float(number))) for number in range(last, last - 100, -1)]
    link = f'<{request.path}?state=all&page={page + 1}>; rel="next"'
    return reply(pulls, 200, {"Link": link if last > 100 else f'<{request.path}?page=1>; rel="first"'})


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_pull_requests(organization, a_run, reply):
    """Ten times as many pull requests need no more memory: each page goes to a file."""
    peaks = []
    for count in (1_000, 10_000):
        organization.repositories = []
        hello = organization.repository(f"r{count}")
        organization.before = partial(page_of, organization, hello, count, reply)
        run = type(a_run)(a_run.connection, a_run.root, a_run.patience, f"github_pulls/2026-03-01/{count}")
        tracemalloc.start()
        assert run.plan().pull_requests == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 + 2_000_000


def test_files_of_old_runs_are_removed(tmp_path):
    for day in ("2026-03-01", "2026-03-02", "not-a-day"):
        working_files.write(tmp_path / f"github_pulls/{day}/token/chunks/0000.gz", [{}])
    assert working_files.remove_expired(tmp_path, datetime(2026, 3, 9, tzinfo=UTC).date(), 7) == 1
    assert sorted(path.name for path in (tmp_path / "github_pulls").iterdir()) == ["2026-03-02", "not-a-day"]


class Unreadable:
    """A file whose store or disk answers with an error."""

    def __init__(self, error):
        self.error = error

    def read_bytes(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("AWS Error SLOW_DOWN during GetObject operation"), TransientError),
        (OSError("AWS Error ACCESS_DENIED during GetObject operation"), ConfigurationError),
        (OSError(errno.EIO, "Input/output error"), OSError),
    ],
)
def test_a_file_that_cannot_be_read_at_the_moment_is_not_forgotten(error, kind):
    with pytest.raises(kind):
        working_files.read_if_whole(Unreadable(error))
    assert working_files.read_if_whole(Unreadable(gzip.BadGzipFile("not a gzipped file"))) is None


class Tables:
    """A warehouse of four tables."""

    def __init__(self, repositories, *counts):
        self.repositories = repositories
        self._counts = dict(zip(("pulls", "reviews", "files"), counts, strict=True))

    def rows(self, table, columns, *, where):
        assert (table, where) == ("repositories", {"organization": "octo-org"})
        return [{**dict.fromkeys(columns), **dict(zip(KNOWN_BY, row, strict=True))} for row in self.repositories]

    def count_rows(self, table, *, by, where):
        assert by == "repository_id"
        return self._counts[table]


KNOWN_BY = ("repository_id", "repository", "complete_until", "pull_requests", "reviews", "files")


def known_of(repositories, *counts):
    names = ("pulls", "reviews", "files")
    return known_repositories(Tables(repositories, *counts), "octo-org", repositories="repositories", contents=names)


@pytest.mark.parametrize(
    ("was", "now", "believed"),
    [
        ((3, 5, 9), (3, 5, 9), True),
        ((3, 5, 9), (4, 6, 99), True),
        ((0, 0, 0), (0, 0, 0), True),
        ((None, None, None), (3, 5, 9), True),
        # rolled back, dropped, deleted: whichever of the tables
        ((3, 5, 9), (2, 5, 9), False),
        ((3, 5, 9), (3, 0, 9), False),
        ((3, 5, 9), (30, 50, 8), False),
    ],
)
def test_a_reading_is_believed_while_the_tables_have_all_its_rows(was, now, believed):
    found = known_of([(1, "hello", instants(9), *was)], *({1: rows} if rows else {} for rows in now))
    assert found == {1: KnownRepository(instants(9) if believed else None, now, "hello")}


def test_a_reading_that_is_not_complete_is_not_believed():
    assert known_of([(1, "hello", None, 3, 5, 9)], {1: 3}, {1: 5}, {1: 9})[1].complete_until is None


def test_rows_of_a_repository_that_nothing_records_are_counted():
    assert known_of([], {1: 3}, {}, {2: 9}) == {
        1: KnownRepository(None, (3, 0, 0)),
        2: KnownRepository(None, (0, 0, 9)),
    }


def test_a_repository_that_is_no_longer_listed_is_said_to_be_left_out(organization, a_run, caplog):
    organization.repository("hello", 2)
    gone = {7: KnownRepository(instants(5), (3, 2, 1), "gone"), 8: KnownRepository(None, (1, 0, 0))}
    plan = a_run.plan(known=lambda login: gone)
    assert [each["repository"] for each in plan.left_out] == ["octo-org/gone"]
    assert planned(a_run, plan) == [("hello", 1), ("hello", 2)]
    rows = {row["repository"]: row for row in read_repositories(a_run.root, plan.folder)}
    assert set(rows) == {"hello", "gone"}
    expect(rows["gone"], repository_id=7, complete_until=instants(5), rows_before=[3, 2, 1])
    assert "no longer listed" in rows["gone"]["left_out"]
    assert any("octo-org/gone is left out" in message for message in caplog.messages)


@pytest.mark.parametrize("order", [["octo-org", "former"], ["former", "octo-org"]])
def test_a_repository_that_was_transferred_is_its_new_owners(organization, a_run, reply, order):
    moved = organization.repository("moved", 2)
    organization.before = lambda request: reply([]) if request.path == "/orgs/former/repos" else None
    known = {"former": {moved.id: KnownRepository(instants(5), (2, 2, 2), "moved")}}

    plan = a_run.plan(organizations=order, known=lambda login: known.get(login, {}))

    assert (plan.left_out, planned(a_run, plan)) == ([], [("moved", 1), ("moved", 2)])
    (row,) = read_repositories(a_run.root, plan.folder)
    expect(row, organization="octo-org", left_out=None, rows_before=[2, 2, 2])
