"""What datasets are called for programs that read OpenLineage."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.lineage.datasets import dataset_of


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3a://b/wh#1/t?x", ("s3://b", "wh#1/t?x")),
        ("file:///a/b?c#d", ("file", "/a/b?c#d")),
        ("postgres://h:5432/d/s/t%3Fq", ("postgres://h:5432", "d.s.t?q")),
        ("iceberg://phlo/raw/t", ("iceberg://phlo", "raw.t")),
    ],
)
def test_nothing_of_a_location_is_lost(uri: str, name: tuple[str, str]) -> None:
    assert dataset_of(uri) == name
