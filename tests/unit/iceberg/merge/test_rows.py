from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.files.content_hashes import HASH_TYPE
from airflow_provider_phlo.iceberg.merge import rows
from airflow_provider_phlo.iceberg.merge.rows import (
    HashLookup,
    differs,
    first_of_each_hash,
    ranks,
    same_multiset,
)


@pytest.mark.parametrize("numbers", [rows._ODD_NUMBERS, np.zeros(4, np.uint64)], ids=["spread", "all collide"])
@pytest.mark.parametrize("length", [32, 7], ids=["our hashes", "other text"])
def test_hashes_are_found_whatever_their_fingerprints(
    monkeypatch: pytest.MonkeyPatch, numbers: np.ndarray, length: int
) -> None:
    monkeypatch.setattr(rows, "_ODD_NUMBERS", numbers)
    texts = [f"{number:0{length}x}" for number in range(50)]
    wanted, present = pa.array(texts[:30], HASH_TYPE).slice(5), pa.array([*texts[20:], texts[25]], HASH_TYPE).slice(1)
    lookup = HashLookup(wanted)
    assert lookup.among(present).tolist() == [text in texts[21:] for text in texts[5:30]]
    assert lookup.among(present.slice(0, 0)).tolist() == [False] * 25
    assert first_of_each_hash(present).tolist() == [True] * 29 + [False]
    assert first_of_each_hash(wanted).all()


def test_contents_differ_by_value() -> None:
    nan = float("nan")
    one = pa.table({"f": [0.0, nan, nan, None], "n": [[1], None, [None], [2]], "_phlo_run_id": ["a"] * 4})
    other = pa.table({"f": [-0.0, nan, 1.0, None], "n": [[1], [], [None], [2]], "_phlo_run_id": ["b"] * 4})
    assert differs(one, other).tolist() == [False, True, True, False]


def test_ranks_order_null_and_nan_first_and_take_equals_for_equal() -> None:
    found = ranks(pa.array([2.0, None, float("nan"), -0.0, 0.0, 2.0])).tolist()
    assert found[1] == found[2] < found[3] == found[4] < found[0] == found[5]


def test_multisets() -> None:
    assert same_multiset(pa.array(["a", "b", "a"]), pa.array(["b", "a", "a"]))
    assert not same_multiset(pa.array(["a", "b", "a"]), pa.array(["b", "b", "a"]))
