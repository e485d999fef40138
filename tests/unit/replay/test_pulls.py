from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import requests

from include.replay import pulls
from tests.patience import PATIENCE
from tests.samples import sample
from tests.unit.replay.test_server import replay  # noqa: F401 - a fixture

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def all_stories(now: datetime = NOW) -> list[pulls.Story]:
    return [told for name, *_ in pulls.REPOSITORIES for told in pulls.stories(name, 7, now)]


def test_has_what_real_organisations_have():
    told = all_stories()
    documents = [pulls.pull_request(each, NOW) for each in told]

    assert 100 < len(documents) < 400
    assert {document["state"] for document in documents} == {"open", "closed"}
    assert any(document["closed_at"] and not document["merged_at"] for document in documents)
    assert any(document["user"] is None for document in documents)
    assert any(document["user"] and document["user"]["type"] == "Bot" for document in documents)
    assert any(document["head"]["repo"] is None for document in documents)
    assert max(len(pulls.files(each)) for each in told) > 100
    assert any(review["user"] is None for each in told for review in pulls.reviews(each, NOW))


def test_the_last_updated_come_first():
    for name, *_ in pulls.REPOSITORIES:
        updated = [pulls.pull_request(told, NOW)["updated_at"] for told in pulls.stories(name, 7, NOW)]
        assert updated == sorted(updated, reverse=True)


def test_time_only_adds_to_a_story():
    later = NOW + timedelta(days=2)
    before = {(told.repository, told.number): told for told in all_stories()}
    for told in all_stories(later):
        old = before.get((told.repository, told.number))
        if old is None:
            assert told.opened > NOW - timedelta(hours=100)
            continue
        first, second = pulls.pull_request(old, NOW), pulls.pull_request(told, later)
        assert first["updated_at"] <= second["updated_at"]
        assert pulls.reviews(told, later)[: len(pulls.reviews(old, NOW))] == pulls.reviews(old, NOW)
        if first["updated_at"] == second["updated_at"]:
            assert first == second


@pytest.mark.parametrize("kind", ["orgs", "users"])
def test_the_server_lists_an_organisation_to_its_last_file(replay, kind):  # noqa: F811
    def ask(path: str) -> list[dict]:
        url, found = f"{replay.url}/github/{path}?per_page=100&state=all", []
        while url:
            response = requests.get(url, timeout=PATIENCE)
            response.raise_for_status()
            found.extend(item for item in response.json() if item not in found)
            url = response.links.get("next", {}).get("url")
        return found

    assert requests.get(f"{replay.url}/github/{kind}/phlo-labs", timeout=PATIENCE).json()["type"] == "Organization"
    names = [repository["name"] for repository in ask(f"{kind}/phlo-labs/repos")]
    assert sorted(names) == sorted(name for name, *_ in pulls.REPOSITORIES)
    listed = ask("repos/phlo-labs/platform/pulls")
    large = next(document for document in listed if document["number"] % 23 == 0)
    assert len(ask(f"repos/phlo-labs/platform/pulls/{large['number']}/files")) == 130
    assert ask("repos/phlo-labs/attic/pulls") == []
    platform = listed[0]["base"]["repo"]["id"]
    alone = requests.get(f"{replay.url}/github/repositories/{platform}", timeout=PATIENCE).json()
    assert (alone["id"], alone["name"]) == (platform, "platform")
    assert ask(f"repositories/{platform}/pulls") == listed
    assert len(ask(f"repositories/{platform}/pulls/{large['number']}/files")) == 130


@pytest.mark.long
@pytest.mark.parametrize(
    "path", ["repos/phlo-labs/none/pulls", "repos/phlo-labs/web/pulls/1/files", "repos/phlo-labs", "repositories/7"]
)
def test_what_is_not_there_is_not_found(replay, path):  # noqa: F811
    assert requests.get(f"{replay.url}/github/{path}", timeout=PATIENCE).status_code == 404


def test_has_the_keys_of_the_real_api():
    told = next(each for each in all_stories() if each.reviews and each.author and each.number % 13)
    made = json.loads(json.dumps(pulls.pull_request(told, NOW)))
    texts = {"body_html", "body_text"}  # of another media type
    (real,) = sample("github/pulls_sample.json")[:1]
    assert set(made) == set(real) - texts
    assert set(made["_links"]) == set(real["_links"])
    assert set(made["head"]) == set(real["head"])
    assert set(pulls.reviews(told, NOW + timedelta(days=99))[0]) == set(sample("github/reviews_sample.json")[0]) - texts
    assert set(pulls.files(told)[0]) - {"previous_filename"} == set(sample("github/pull_files_sample.json")[0])
