"""From an organisation to the readings of its pull requests, over a real server with its moods."""

from __future__ import annotations

import errno
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    SourceRejectedError,
    SourceUnavailableError,
    TransientError,
)
from airflow_provider_phlo.sources.github_pulls.reading import left_out
from tests.unit.sources.github_pulls.organization import moment


def numbers(readings):
    return sorted((each["repository"], each["number"]) for each in readings)


def test_a_reading_has_what_the_schema_asks_for(organization, a_run):
    organization.repository("hello", 1, reviews=2, files=1)

    (reading,) = a_run.read(a_run.plan())

    assert reading == {
        "organization": "octo-org",
        "repository": "hello",
        "repository_id": 100,
        "number": 1,
        "id": 10_000_001,
        "title": "Change 1",
        "state": "closed",
        "draft": False,
        "locked": False,
        "user": {"login": "ada", "id": 7, "type": "User"},
        "author_association": "MEMBER",
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
        "updated_at": datetime(2026, 3, 1, 0, 1, tzinfo=UTC),
        "closed_at": datetime(2026, 3, 1, 0, 1, tzinfo=UTC),
        "merged_at": None,
        "merge_commit_sha": "0" * 40,
        "base": {"ref": "main", "sha": "1" * 40},
        "head": {"ref": "change", "sha": "2" * 40, "repository": "octo-org/hello", "repository_id": 100},
        "labels": ["bug"],
        "requested_reviewers": ["grace"],
        "milestone": "v1",
        "html_url": "https://github.com/octo-org/hello/pull/1",
        "reviews": [
            {
                "id": number,
                "user": {"login": "grace", "id": 8, "type": "User"},
                "state": "APPROVED",
                "submitted_at": datetime(2026, 3, 1, 0, 1, tzinfo=UTC),
                "commit_id": "2" * 40,
                "author_association": "MEMBER",
            }
            for number in (1000, 1001)
        ],
        "files": [
            {
                "sha": "0" * 40,
                "filename": "src/file_0.py",
                "status": "modified",
                "additions": 2,
                "deletions": 1,
                "changes": 3,
                "previous_filename": None,
                "occurrence": 1,
            }
        ],
        "files_complete": True,
        "read_at": datetime.fromisoformat(moment(1_000_000)),
    }


def test_all_pages_of_all_lists_are_read_each_once(organization, a_run, server):
    organization.repository("empty")
    organization.repository("large", 101, reviews=0, files=0)
    organization.repository("wide", 1, reviews=220, files=101)

    readings = a_run.read(a_run.plan())

    assert len(readings) == len(set(numbers(readings))) == 102
    (wide,) = [each for each in readings if each["repository"] == "wide"]
    assert (len(wide["reviews"]), len(wide["files"])) == (220, 101)
    assert len({each["filename"] for each in wide["files"]}) == 101
    assert all(request.headers["authorization"] == "Bearer ghp_s3cret" for request in server.requests)


@pytest.mark.parametrize(
    ("files", "listed", "complete"), [(2999, 2999, True), (3000, 3000, False), (10_000, 3000, False)]
)
def test_the_cap_of_3000_files_is_said_in_the_data(organization, a_run, files, listed, complete):
    organization.repository("hello", 1, files=files)
    (reading,) = a_run.read(a_run.plan())
    assert (len(reading["files"]), reading["files_complete"]) == (listed, complete)


@pytest.mark.parametrize("status", [406, 422])
def test_changes_that_are_too_large_to_be_listed_are_said_in_the_data(organization, a_run, reply, status):
    organization.repository("hello", 2, reviews=1)
    organization.before = lambda request: (
        reply({"message": "Sorry, this diff is too large"}, status) if "/pulls/2/files" in request.path else None
    )
    found = {each["number"]: each for each in a_run.read(a_run.plan())}
    assert (found[2]["files"], found[2]["files_complete"], len(found[2]["reviews"])) == ([], False, 1)
    assert found[1]["files_complete"]


def test_ghosts_and_deleted_forks_are_null(organization, a_run):
    hello = organization.repository("hello", 2)
    hello.pulls[1].changes = {"user": None, "head": {"ref": "gone", "sha": "3" * 40, "repo": None, "user": None}}
    hello.pulls[2].changes = {"user": "ghost", "head": None, "base": None, "labels": None, "milestone": None}

    first, second = sorted(a_run.read(a_run.plan()), key=lambda each: each["number"])

    assert first["user"] is None
    assert first["head"] == {"ref": "gone", "sha": "3" * 40, "repository": None, "repository_id": None}
    assert (second["user"], second["labels"], second["milestone"]) == (None, [], None)
    assert second["repository_id"] == 100


def test_a_title_with_half_a_surrogate_pair_comes_through(organization, a_run):
    organization.repository("hello", 1).pulls[1].changes = {"title": "cut \ud83d"}
    assert a_run.read(a_run.plan())[0]["title"] == "cut \ud83d"


def test_a_token_that_is_revoked_meanwhile_ends_the_run_and_says_what_to_set(organization, a_run, reply):
    organization.repository("hello", 30)
    plan = a_run.plan()
    answered = []
    organization.before = lambda request: (
        reply({"message": "Bad credentials"}, 401) if len(answered) > 20 else answered.append(request)
    )
    with pytest.raises(
        SourceRejectedError, match=r"answered 401\. Set password \(a GitHub token.*connection octo"
    ) as caught:
        a_run.read(plan)
    assert "s3cret" not in str(caught.value)
    # with another token a retry reads only what is missing
    organization.before = lambda request: None
    before = organization.requests
    assert len(a_run.read(plan)) == 30
    assert organization.requests - before < 60 - 15


def test_a_repository_deleted_after_the_plan_is_left_out_by_name(organization, a_run, caplog):
    organization.repository("gone", 3)
    organization.repository("hello", 2)
    plan = a_run.plan()
    organization.repositories.pop(0)

    assert numbers(a_run.read(plan)) == [("hello", 1), ("hello", 2)]
    said = [each.getMessage() for each in caplog.records if "is left out" in each.getMessage()]
    assert len(said) == 3
    assert "octo-org/gone#1 is left out: it is not there (404" in "".join(said)
    missed = left_out(a_run.root, plan.folder)
    assert sorted((each["repository_id"], each["number"]) for each in missed) == [(100, 1), (100, 2), (100, 3)]
    assert all("404" in each["left_out"] for each in missed)


@pytest.mark.parametrize("status", [403, 451, 410])
def test_a_repository_blocked_after_the_plan_is_left_out_by_name(organization, a_run, reply, caplog, status):
    organization.repository("blocked", 1)
    organization.repository("hello", 1)
    plan = a_run.plan()
    organization.before = lambda request: (
        reply({"message": "Repository access blocked"}, status) if "/100/" in request.path else None
    )
    assert numbers(a_run.read(plan)) == [("hello", 1)]
    assert f"({status}" in next(m for m in caplog.messages if m.startswith("octo-org/blocked#1 is left out"))


def test_a_token_that_may_read_no_pull_request_is_an_error(organization, a_run, reply):
    organization.repository("hello", 3)
    plan = a_run.plan()
    organization.before = lambda request: reply({"message": "Resource not accessible by personal access token"}, 403)
    with pytest.raises(SourceRejectedError, match="refuses the reviews and files of all 3 pull requests"):
        a_run.read(plan)
    organization.before = lambda request: None
    assert len(a_run.read(plan)) == 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Retry-After": "120"}, ""),
        ({}, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700003600"}, "API rate limit exceeded"),
    ],
)
def test_after_a_limit_only_what_is_missing_is_read(organization, a_run, reply, headers, message):
    organization.repository("hello", 40, reviews=1, files=101)
    plan = a_run.plan()
    answered = []

    def limited(request):
        if len(answered) >= 35:
            return reply({"message": message}, 403, headers)
        answered.append(request)
        return None

    organization.before = limited
    with pytest.raises(SourceUnavailableError) as caught:
        a_run.read(plan)
    assert caught.value.retry_at is not None
    organization.before = lambda request: None
    before = organization.requests

    assert len(a_run.read(plan)) == 40
    # pages of pull requests that were not finished are not read again either; the first of two is compared
    assert organization.requests - before == 40 * 4 - 35


def test_a_limit_of_very_few_requests_is_got_through(organization, a_run, reply):
    """Each window brings the reading further, even if it is smaller than what one pull request needs."""
    organization.repository("hello", 3, reviews=1, files=450)
    plan = a_run.plan()
    window, windows = [], 0

    def limited(request):
        if len(window) >= 2:
            return reply({}, 429, {"Retry-After": "3600"})
        window.append(request)
        return None

    organization.before = limited
    readings = None
    while readings is None:
        window.clear()
        windows += 1
        try:
            readings = a_run.read(plan)
        except SourceUnavailableError:
            assert windows <= 15
    assert [len(each["files"]) for each in readings] == [450] * 3
    assert windows == 15  # 18 requests, and 12 for whether the pages are as they were


def test_the_reserve_is_left_to_others(organization, a_run, server, reply):
    organization.repository("hello", 300)
    plan = a_run.plan()
    left = [5000 - 4800]

    def counted(request):
        left[0] -= 1
        status, body, sent = organization.answer(request.path, request.query, request.headers)
        limit = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": str(left[0]), "X-RateLimit-Reset": "1700003600"}
        return reply(body, status, {**sent, **limit})

    organization.before = counted
    with pytest.raises(SourceUnavailableError, match=r"has no request left.*resets at 2023-11-14T23:13:20Z"):
        a_run.read(plan)
    assert 100 - 4 <= left[0] <= 100


def test_a_renamed_repository_is_followed_and_keeps_its_id(organization, a_run, reply):
    hello = organization.repository("hello", 2)
    plan = a_run.plan()
    hello.name = "renamed"
    organization.before = lambda request: (
        reply(
            None,
            301,
            {"Location": request.path.replace("/repos/octo-org/hello", "/repositories/100") + "?per_page=100"},
        )
        if "/octo-org/hello/" in request.path
        else None
    )
    readings = a_run.read(plan)
    assert [(each["repository_id"], len(each["reviews"])) for each in readings] == [(100, 1), (100, 1)]


def test_a_redirect_to_another_host_gets_no_token(organization, a_run, reply, serve):
    organization.repository("hello", 1)
    plan = a_run.plan()
    other = serve()
    organization.before = lambda request: reply(None, 301, {"Location": f"{other.url}/x"})
    with pytest.raises(SourceRejectedError, match="would leave the host"):
        a_run.read(plan)
    assert other.requests == []


def test_pages_that_shift_while_they_are_read_give_each_item_once(organization, a_run):
    pull = organization.repository("hello", 1, reviews=150, files=150).pulls[1]
    plan = a_run.plan()

    def one_more_first(request):
        if request.query.get("page") == ["2"] and pull.reviews == 150:
            pull.reviews = 151

    organization.before = one_more_first
    (reading,) = a_run.read(plan)
    assert len({each["id"] for each in reading["reviews"]}) == len(reading["reviews"]) == 151


def listed(organization, reply, kind, lists, etags=True):
    """Answer with what ``lists`` has of a kind (reviews, files) of the only pull request."""

    def answer(request):
        if not request.path.endswith(f"/{kind}"):
            return None
        page = int(request.query.get("page", ["1"])[0])
        items = lists[0][(page - 1) * 100 : page * 100]
        link = {"Link": f'<{request.path}?page={page + 1}>; rel="next"'} if len(lists[0]) > page * 100 else {}
        etag = {"ETag": str(hash(repr(items)))} if etags else {}
        if etags and request.headers.get("if-none-match") == etag["ETag"]:
            return reply(None, 304, etag)
        return reply(items, 200, {"Link": '<x>; rel="prev"', **link, **etag})

    return answer


def review(number):
    return {"id": number, "user": None, "state": "APPROVED", "submitted_at": moment(1), "commit_id": "c"}


def file(name, status="modified"):
    return {"filename": name, "status": status, "sha": "f", "additions": 1, "deletions": 0, "changes": 1}


ITEMS = {"reviews": ("id", [review(number) for number in range(1, 252)]), "files": ("filename", [])}
ITEMS["files"] = ("filename", [file(f"f{number:03}") for number in range(251)])


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("kind", ITEMS)
def test_an_item_that_is_removed_while_pages_are_read_hides_no_other(organization, a_run, reply, kind, etags):
    organization.repository("hello", 1)
    plan = a_run.plan()
    name, items = ITEMS[kind]
    lists = [items]
    answer = listed(organization, reply, kind, lists, etags)

    def shrink(request):
        if request.path.endswith(kind) and request.query.get("page") == ["2"] and lists[0] is items:
            lists[0] = items[1:]
        return answer(request)

    organization.before = shrink
    (reading,) = a_run.read(plan)
    assert [each[name] for each in reading[kind]] == [each[name] for each in items[1:]]
    assert reading["files_complete"]


@pytest.mark.parametrize("kind", ITEMS)
def test_what_changes_each_time_it_is_read_is_left_out_by_name(organization, a_run, reply, caplog, kind):
    organization.repository("hello", 2)
    plan = a_run.plan()
    lists = [ITEMS[kind][1]]
    answer = listed(organization, reply, kind, lists)

    def shrink(request):
        if "/pulls/1/" not in request.path:
            return None
        if request.path.endswith(kind) and request.query.get("page") == ["2"]:
            lists[0] = lists[0][1:]
        return answer(request)

    organization.before = shrink
    assert numbers(a_run.read(plan)) == [("hello", 2)]
    (missed,) = left_out(a_run.root, plan.folder)
    assert (missed["number"], missed["left_out"]) == (1, "its reviews or files changed each time they were read")


def test_pages_that_overlap_give_each_file_once(organization, a_run, reply):
    organization.repository("hello", 1)
    plan = a_run.plan()
    files = [file(f"f{number:03}") for number in range(101)]
    organization.before = listed(organization, reply, "files", [[*files[:100], files[99], files[100]]])
    (reading,) = a_run.read(plan)
    assert [each["filename"] for each in reading["files"]] == [each["filename"] for each in files]
    assert {each["occurrence"] for each in reading["files"]} == {1}


def test_a_path_that_is_listed_twice_is_two_files(organization, a_run, reply):
    organization.repository("hello", 1)
    plan = a_run.plan()
    found = [file("link", "removed"), file("other"), file("link", "added")]
    organization.before = listed(organization, reply, "files", [found])
    (reading,) = a_run.read(plan)
    assert [(each["filename"], each["status"], each["occurrence"]) for each in reading["files"]] == [
        ("link", "removed", 1),
        ("other", "modified", 1),
        ("link", "added", 2),
    ]


def test_an_attempt_that_ends_reads_no_further(organization, a_run):
    """Whoever takes the readings may fail: threads end, and what was read is kept."""
    organization.repository("hello", 100)
    (chunk,) = a_run.plan().chunks
    readings = iter(a_run.lazily(chunk))
    some = [next(readings) for _ in range(10)]
    readings.close()
    asked = organization.requests
    time.sleep(0.05)
    assert organization.requests == asked < 150

    again = a_run.read_chunk(chunk)
    assert set(numbers(some)) < set(numbers(again))
    assert len(set(numbers(again))) == 100
    assert organization.requests < 250


def test_files_of_progress_that_a_power_cut_left_are_not_believed(organization, a_run, tmp_path):
    organization.repository("hello", 20)
    plan = a_run.plan()
    a_run.read(plan)
    kept = list(tmp_path.glob("**/done-*"))
    for number, path in enumerate(kept):
        path.write_bytes([b"", path.read_bytes()[:-20], b"\0" * 100][number % 3])
    asked = organization.requests
    assert len(a_run.read(plan)) == 20
    assert organization.requests == asked + 40


def test_the_plan_that_is_gone_is_an_error_that_says_what_to_do(organization, a_run, tmp_path):
    organization.repository("hello", 1)
    plan = a_run.plan()
    for path in tmp_path.glob("**/chunks/*"):
        path.unlink()
    with pytest.raises(ConfigurationError, match="Clear the run's first task"):
        a_run.read(plan)


def test_a_full_disk_is_an_error_that_a_retry_may_cure(organization, a_run, tmp_path, monkeypatch):
    organization.repository("hello", 1)
    plan = a_run.plan()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TransientError, match="No space left for working files"):
        a_run.read(plan)


@pytest.mark.parametrize(("failing", "fails"), [(3, False), (4, True)])
def test_files_that_github_fails_to_list_each_time_are_said_to_be_incomplete(
    organization, a_run, reply, caplog, failing, fails
):
    organization.repository("hello", 6, files=2)
    plan = a_run.plan(concurrency=1)
    organization.before = lambda request: (
        reply({"message": "Server Error"}, 502)
        if request.path.endswith("/files") and int(request.path.split("/")[-2]) <= failing
        else None
    )
    if fails:  # GitHub is down
        with pytest.raises(SourceUnavailableError, match="answered 502"):
            a_run.read(plan)
        return
    found = {each["number"]: (len(each["files"]), each["files_complete"]) for each in a_run.read(plan)}
    assert found == {number: (0, False) if number <= failing else (2, True) for number in range(1, 7)}
    assert sum("the files are left out" in message for message in caplog.messages) == failing


def test_files_that_github_fails_to_list_for_a_while_are_read_in_the_end(organization, a_run, reply):
    organization.repository("hello", 6, files=2)
    plan = a_run.plan(concurrency=1)
    read = set()

    def fail(request):
        read.add(request.path)
        others = sum(path.endswith("/files") for path in read)
        return reply({}, 502) if request.path.endswith(("/1/files", "/6/files")) and others < 6 else None

    organization.before = fail
    found = {each["number"]: (len(each["files"]), each["files_complete"]) for each in a_run.read(plan)}
    assert found == dict.fromkeys(range(1, 7), (2, True))


def test_reviews_that_github_fails_to_list_fail_the_task(organization, a_run, reply):
    organization.repository("hello", 2)
    plan = a_run.plan()
    organization.before = lambda request: (
        reply({"message": "Server Error"}, 502) if request.path.endswith("/1/reviews") else None
    )
    with pytest.raises(SourceUnavailableError, match="answered 502"):
        a_run.read(plan)


@pytest.mark.parametrize("odd", [None, "7", 2**64, True])
def test_reviews_without_an_id_are_left_out_with_the_name_of_their_pull_request(
    organization, a_run, reply, caplog, odd
):
    organization.repository("hello", 2)
    plan = a_run.plan()
    organization.before = lambda request: (
        reply([{"id": odd, "state": "APPROVED"}, {"id": odd, "state": "COMMENTED"}, {"id": 5, "state": "APPROVED"}])
        if request.path.endswith("/1/reviews")
        else None
    )
    found = {each["number"]: [review["id"] for review in each["reviews"]] for each in a_run.read(plan)}
    assert found == {1: [5], 2: [2000]}
    assert any("octo-org/hello#1: 2 reviews without an id are left out" in message for message in caplog.messages)
