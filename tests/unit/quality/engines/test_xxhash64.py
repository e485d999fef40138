"""XXH64 with NumPy: known values, and many texts at once as each alone. (tests/services compares it with Trino's.)"""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_phlo.quality.engines import xxhash64

# of the algorithm's own description and its implementations' tests, seed 0
KNOWN = {
    "": 0xEF46DB3751D8E999,
    "a": 0xD24EC4F1A98C6E5B,
    "abc": 0x44BC2CF5AD770999,
    "xxhash": 0x32DD38952C4BC720,
    "Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
}


def hashes(texts: list[str | None]) -> list[int | None]:
    with duckdb.connect() as connection:
        xxhash64.register(connection)
        rows = connection.execute("SELECT xxhash64(x) FROM (SELECT unnest(?) AS x)", [texts]).fetchall()
    return [None if value is None else value % 2**64 for (value,) in rows]


def test_known_values():
    assert hashes([*KNOWN, None]) == [*KNOWN.values(), None]


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_pieces_are_hashed_as_each_alone(pieces):
    content = np.frombuffer(b"".join(pieces), np.uint8)
    sizes = np.array([len(piece) for piece in pieces], np.int64)
    starts = np.cumsum(sizes) - sizes
    alone = [
        xxhash64.xxhash64(np.frombuffer(piece, np.uint8), np.zeros(1, np.int64), np.array([len(piece)]))
        for piece in pieces
    ]
    assert xxhash64.xxhash64(content, starts, sizes).tolist() == [int(found[0]) for found in alone]


@pytest.mark.long
def test_more_rows_than_one_vector_of_the_engine():
    texts = [f"text {number}" * (number % 9) for number in range(5000)]
    assert hashes(texts) == [hash_ for text in texts for hash_ in [one(text)]]


def one(text: str) -> int:
    data = text.encode()
    return int(xxhash64.xxhash64(np.frombuffer(data, np.uint8), np.zeros(1, np.int64), np.array([len(data)]))[0])
