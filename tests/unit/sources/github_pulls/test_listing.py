"""What GitHub lists and what cannot be kept of it; pages whose links are missing."""

from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.exceptions import SourceRejectedError, SourceUnavailableError
from tests.unit.sources.github_pulls.organization import Repository


@pytest.mark.parametrize("changes", [{"id": 2**64}, {"id": "7"}, {"id": True}, {"name": "cut \ud83d"}])
def test_a_repository_without_an_id_or_name_does_not_stop_the_others(organization, a_run, reply, caplog, changes):
    hello, odd = organization.repository("hello", 2), organization.repository("odd", 1)
    listed = [organization.document(hello), {**organization.document(odd), **changes}]
    organization.before = lambda request: reply(listed) if request.path == "/orgs/octo-org/repos" else None

    plan = a_run.plan()

    assert (plan.repositories, plan.pull_requests) == (1, 2)
    (left,) = plan.left_out
    assert "octo-org/odd" in left["repository"]
    assert "without an id" in left["reason"]
    assert plan.summary()["left_out_count"] == 1
    json.dumps(plan.summary()).encode()
    assert any("octo-org/odd" in message and "is left out" in message for message in caplog.messages)
    assert a_run.plan().left_out == [left]  # a retry lists nothing, and says the same


@pytest.mark.parametrize("odd", [[7], {"id": 7}, 2**64, "7", None])
def test_a_base_that_names_no_repository_counts_for_the_one_that_was_asked_for(organization, a_run, odd):
    organization.repository("hello", 1).pulls[1].changes = {"base": {"ref": "main", "repo": {"id": odd}}}
    (reading,) = a_run.read(a_run.plan())
    assert reading["repository_id"] == 100


@pytest.mark.long
@pytest.mark.parametrize("count", [99, 100, 130, 200])
def test_pages_are_asked_for_by_number_where_something_takes_their_links_away(organization, a_run, count):
    organization.links = False
    organization.repository("hello", count)
    organization.repository("large", 1, reviews=count, files=count)

    found = {(each["repository"], each["number"]): each for each in a_run.read(a_run.plan())}

    assert len(found) == count + 1
    large = found["large", 1]
    assert (len(large["reviews"]), len(large["files"]), large["files_complete"]) == (count, count, True)


def test_a_server_that_knows_no_pages_is_asked_twice(organization, a_run, reply, server):
    organization.repository("hello", 1)
    full = [organization.document(Repository(number, f"r{number}")) for number in range(1, 101)]
    organization.before = lambda request: reply(full) if request.path == "/orgs/octo-org/repos" else None
    assert a_run.plan().repositories == 100
    assert sum(request.path == "/orgs/octo-org/repos" for request in server.requests) <= 3


def test_a_later_page_of_an_organisation_that_is_not_there_is_not_taken_for_a_user(organization, a_run, reply):
    for number in range(120):
        organization.repository(f"r{number}")
    organization.before = lambda request: (
        reply({"message": "Not Found"}, 404) if request.query.get("page") == ["2"] else None
    )
    with pytest.raises(SourceUnavailableError, match=r"a later page of .*/orgs/octo-org/repos answered 404"):
        a_run.plan()


def test_a_list_of_which_single_sign_on_hides_a_part_is_not_taken_for_the_whole(organization, a_run, reply):
    listed = [organization.document(organization.repository("hello", 1))]
    headers = {"X-GitHub-SSO": "partial-results; organizations=21955855,20582480"}
    organization.before = lambda request: reply(listed, 200, headers) if "/orgs/" in request.path else None
    with pytest.raises(SourceRejectedError, match=r"/orgs/octo-org/repos answered only a part: authorize the token"):
        a_run.plan()
