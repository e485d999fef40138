from __future__ import annotations

import hashlib
from random import Random

import pyarrow as pa
import pytest

from airflow_provider_phlo.schemas import pandera_to_iceberg
from airflow_provider_phlo.sources.github_pulls.models import PullRequest, PullRequestFile, PullRequestReview
from airflow_provider_phlo.sources.github_pulls.transform import row_key, transform
from tests.unit.sources.github_pulls.readings import as_arrow, reading, readings
from tests.unit.sources.github_pulls.row_wise import transform_row_wise

MODELS = {"pull_requests": PullRequest, "reviews": PullRequestReview, "files": PullRequestFile}


@pytest.mark.parametrize("seed", range(5))
def test_gives_what_plain_python_gives(seed: int):
    rows = readings(Random(seed), 200)

    made, expected = transform(as_arrow(rows)), transform_row_wise(rows)

    for entity, table in made.items():
        assert table.to_pylist() == [{name: row[name] for name in table.schema.names} for row in expected[entity]]


def test_has_the_columns_that_its_models_document():
    made = transform(as_arrow(readings(Random(1), 20)))

    for entity, model in MODELS.items():
        declared = [field.name for field in pandera_to_iceberg(model).fields if field.field_id < 100]
        assert sorted(made[entity].schema.names) == sorted(declared)


def test_nothing_gives_nothing():
    made = transform(as_arrow([]))

    assert {entity: len(rows) for entity, rows in made.items()} == {"pull_requests": 0, "reviews": 0, "files": 0}


def test_more_columns_and_another_order_change_nothing():
    table = as_arrow(readings(Random(2), 30))
    other = table.select(list(reversed(table.schema.names))).append_column("_dlt_id", pa.nulls(len(table)))

    assert transform(other) == transform(table)


def test_a_key_is_the_hash_of_the_identity_and_stays_through_a_rename():
    one = {**reading(Random(3), 12), "repository_id": 7}
    renamed = {**one, "repository": "new-name", "organization": "new-owner"}

    key = transform(as_arrow([one]))["pull_requests"]["row_key"].to_pylist()

    assert key == [hashlib.sha256(b"pull_request\x1f7\x1f12\x1f").hexdigest()] == [row_key("pull_request", 7, 12)]
    assert transform(as_arrow([renamed]))["pull_requests"]["row_key"].to_pylist() == key


def test_keys_of_different_things_differ():
    parts = {("file", 1, 12, "3"), ("file", 11, 2, "3"), ("review", 1, 12, "3"), ("file", 1, 1, "2\x1f3")}

    assert len({row_key(*part) for part in parts}) == len(parts)


def test_sizes_of_a_pull_request_of_three_thousand_files_do_not_overflow():
    files = [
        {"filename": str(index), "additions": 2**31, "deletions": 2**31, "changes": 2**32} for index in range(3000)
    ]

    made = transform(as_arrow([{**reading(Random(4), 1), "files": files, "files_complete": False}]))

    row = made["pull_requests"].to_pylist()[0]
    assert (row["changed_files"], row["changed_lines"], row["files_complete"]) == (3000, 3000 * 2**32, False)
    assert len(made["files"]) == 3000


SIZES = ("additions", "deletions", "changed_lines", "changed_files", "size_class")


@pytest.mark.parametrize(
    ("complete", "expected"), [(True, (0, 0, 0, 0, "XS")), (False, (None, None, None, None, None))]
)
def test_sizes_are_unknown_where_no_file_could_be_listed(complete: bool, expected: tuple[object, ...]):
    made = transform(as_arrow([{**reading(Random(5), 1), "files": [], "files_complete": complete}]))

    assert tuple(made["pull_requests"].to_pylist()[0][name] for name in SIZES) == expected
