"""A repository is renamed and its name taken by another one, at every moment of a run: their rows never mix."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.sources.github_pulls.planning import KnownRepository, read_repositories
from tests.unit.sources.github_pulls.organization import BEGIN


def swapped(organization):
    """Rename a repository, and give its name to a new one with more reviews of pull requests with the same numbers."""
    organization.repositories[0].name = "renamed"
    organization.repository("hello", 150, reviews=3, files=3)


@pytest.mark.long
@pytest.mark.parametrize("place", ["plan", "second page", "between", "read"])
def test_a_name_that_changes_hands_while_a_run_reads_mixes_nothing(organization, a_run, place):
    organization.repository("hello", 150, reviews=1, files=1)

    def swap(request):
        paged = request.query.get("page") == ["2"]
        now = {"plan": request.path.endswith("/pulls"), "second page": paged, "read": "/reviews" in request.path}
        if now.get(place) and len(organization.repositories) == 1:
            swapped(organization)

    organization.before = swap
    plan = a_run.plan()
    if place == "between":
        swapped(organization)
    readings = a_run.read(plan)

    assert len(organization.repositories) == 2
    assert {(each["repository_id"], len(each["reviews"]), len(each["files"])) for each in readings} == {(100, 1, 1)}
    assert len(readings) == 150


@pytest.mark.long
@pytest.mark.parametrize("place", ["plan", "second page"])
def test_a_server_that_knows_only_names_never_gives_one_repository_the_rows_of_another(organization, a_run, place):
    organization.by_id = False
    organization.repository("hello", 150, reviews=1, files=1)

    def swap(request):
        now = {"plan": request.path.endswith("/pulls"), "second page": request.query.get("page") == ["2"]}
        if now[place] and len(organization.repositories) == 1:
            swapped(organization)

    organization.before = swap
    before = KnownRepository(BEGIN, (0, 0, 0), "hello", BEGIN, "{}")
    plan = a_run.plan(known=lambda login: {100: before})

    (left,) = plan.left_out
    assert left["repository"] == "octo-org/hello"
    assert "pull requests of another repository are listed at its name" in left["reason"]
    (row,) = read_repositories(a_run.root, plan.folder)
    # what was not listed is read by the next run
    assert (row["repository_id"], row["complete_until"], row["last_update"]) == (100, BEGIN, BEGIN)
    others = [each for each in a_run.read(plan) if each["repository_id"] == 101]
    assert others
    assert {len(each["reviews"]) for each in others} == {3}


def test_repositories_are_asked_for_by_id(organization, a_run, server):
    organization.repository("hello", 2)
    assert len(a_run.read(a_run.plan())) == 2
    assert {request.path.split("/")[1] for request in server.requests} == {"orgs", "repositories"}


@pytest.mark.parametrize("status", [404, 403, 500, 200])
def test_a_server_that_does_not_know_ids_is_asked_by_name(organization, a_run, server, reply, caplog, status):
    for name in ("a", "b"):
        organization.repository(name, 1)
    organization.before = lambda request: (
        reply([], status) if request.path.startswith("/repositories/") else None  # 200: it answers everything
    )
    assert len(a_run.read(a_run.plan())) == 2
    assert any("by name" in message for message in caplog.messages)


def test_the_first_repository_that_is_gone_does_not_make_the_others_be_asked_by_name(organization, a_run, server):
    for name in ("a", "b"):
        organization.repository(name, 1)

    def delete(request):
        if request.path == "/repositories/100" and len(organization.repositories) == 2:
            organization.repositories.pop(0)

    organization.before = delete
    plan = a_run.plan()
    assert plan.pull_requests == 1
    assert not [request.path for request in server.requests if request.path.startswith("/repos/")]
