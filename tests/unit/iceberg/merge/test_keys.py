from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_phlo.iceberg.merge import keys
from airflow_provider_phlo.iceberg.merge.keys import NOT_IN_BATCH, KeyIndex

PARTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 3), st.sampled_from([0.0, -0.0, float("nan"), 1.5])))


def table(rows: list[tuple[str, int, float]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    kinds = {"s": pa.string(), "i": pa.int64(), "f": pa.float64()}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in zip(kinds, columns, strict=True)})


def plain(row: tuple[str, int, float]) -> tuple[str, int, Any]:
    return (row[0], row[1], "NaN" if row[2] != row[2] else row[2] + 0.0)


@pytest.mark.long
@pytest.mark.parametrize("limit", [keys._TOO_MANY, 2], ids=["one number holds all columns", "numbered anew"])
@pytest.mark.parametrize("key", [("s",), ("f",), ("s", "i"), ("i", "f", "s")], ids=str)
@given(batch=PARTS, present=PARTS)
def test_keys_are_found_as_a_dict_finds_them(key: tuple[str, ...], limit: int, batch: Any, present: Any) -> None:
    positions = ["s", "i", "f"]

    def pick(row: tuple[str, int, float]) -> tuple[Any, ...]:
        return tuple(plain(row)[positions.index(name)] for name in key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_TOO_MANY", limit)
        index = KeyIndex(table(batch), key)
        found = index.locate(table(present))
    number = {pick(row): index.numbers[position] for position, row in enumerate(batch)}
    assert index.count == len(number)
    assert sorted(set(index.numbers.tolist())) == list(range(index.count))
    assert found.tolist() == [number.get(pick(row), NOT_IN_BATCH) for row in present]


def test_rows_without_a_key_do_not_match_the_batch() -> None:
    index = KeyIndex(pa.table({"k": [1, 2]}), ["k"])
    assert index.locate(pa.table({"k": [None, 2, 3]})).tolist() == [NOT_IN_BATCH, 1, NOT_IN_BATCH]
    assert np.array_equal(index.numbers, [0, 1])


@pytest.mark.long
@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.timestamp("us", "UTC"), pa.date32()], ids=str)
@given(batch=st.sets(st.integers(0, 200)).map(sorted), present=st.lists(st.none() | st.integers(0, 200)))
def test_keys_in_order_are_found_too(kind: pa.DataType, batch: list[int], present: list[int | None]) -> None:
    def column(values: list[Any]) -> pa.Table:
        return pa.table({"k": pa.array(values, pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)})

    index = KeyIndex(column(batch), ["k"])
    expected = [NOT_IN_BATCH if each not in batch else batch.index(each) for each in present]
    assert index.locate(column(present)).tolist() == expected
