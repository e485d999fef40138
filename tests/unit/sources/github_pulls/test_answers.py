"""What is kept of answers as GitHub's own documentation records them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_phlo.sources.github_pulls import answers
from airflow_provider_phlo.sources.github_pulls.models import PullRequestReading
from tests.samples import sample

REPOSITORY = {"id": 7, "name": "Hello-World", "full_name": "octocat/Hello-World"}


def test_recorded_answers_give_whole_readings():
    declared = set(PullRequestReading.to_schema().columns)
    for pull in sample("github/pulls_sample.json"):
        kept = {
            **answers.pull_request_of(pull, REPOSITORY, "octocat", "/repositories/7"),
            "reviews": [answers.review_of(each) for each in sample("github/reviews_sample.json")],
            "files": [answers.file_of(each) for each in sample("github/pull_files_sample.json")],
            "files_complete": True,
            "read_at": "2026-03-01T00:00:00Z",
        }
        reading = answers.reading_of(kept)
        assert set(reading) == declared
        assert reading["repository_id"] == pull["base"]["repo"]["id"]
        assert reading["created_at"] == datetime.fromisoformat(pull["created_at"])
        assert all(review["submitted_at"].tzinfo for review in reading["reviews"])
        assert "body" not in reading
        assert not {"patch", "raw_url"} & {name for file in reading["files"] for name in file}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-29T01:30:00Z", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        ("2026-03-29T01:30:00+02:00", datetime(2026, 3, 28, 23, 30, tzinfo=UTC)),
        ("2026-03-29T01:30:00", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (None, None),
        ("soon", "soon"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        (7, 7),
    ],
)
def test_times_are_in_utc_and_what_is_not_one_is_left_to_the_schema(text, moment):
    assert answers.instant(text) == moment


@pytest.mark.parametrize("value", ["", "soon", "Fri, 99 Mar 2026 00:00:00 GMT"])
def test_a_server_without_a_clock_is_read_by_ours(value):
    assert abs((answers.sent_at({"Date": value}) - datetime.now(UTC)).total_seconds()) < 60
