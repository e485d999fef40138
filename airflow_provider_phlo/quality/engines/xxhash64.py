"""
XXH64 (Yann Collet's specification, seed 0) of many texts at once, with NumPy: Trino has the function, DuckDB lacks it.

All texts take each step together: step ``k`` reads the ``k``-th stripe, or word, of the texts that are long enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Words = npt.NDArray[np.uint64]

_PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_STRIPE = 32


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the function ``xxhash64(text)`` to a connection: the hash of the UTF-8 bytes as a signed integer."""
    import duckdb

    connection.create_function(
        "xxhash64",
        lambda texts: _hash_column(texts),  # DuckDB would evaluate the annotations
        [duckdb.sqltypes.VARCHAR],
        duckdb.sqltypes.BIGINT,
        type="arrow",
    )


def _hash_column(texts: pa.ChunkedArray) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    hashes = np.concatenate([_hash_array(chunk) for chunk in chunks]) if chunks else np.zeros(0, np.uint64)
    return pa.array(hashes.view(np.int64), mask=np.asarray(texts.is_null()))


def _hash_array(texts: pa.Array) -> Words:
    import numpy as np
    import pyarrow as pa

    texts = texts.cast(pa.large_binary())
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
    content = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return xxhash64(content, ends[:-1], ends[1:] - ends[:-1])


def xxhash64(content: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Words:
    """
    Return the hash of each piece of ``content``.

    :param starts: where each piece begins.
    :param sizes: the number of bytes of each piece.
    """
    import numpy as np

    padded = np.append(content, np.zeros(8, np.uint8))
    # the eight bytes that begin at each offset, as one number
    words: Words = np.ndarray(len(content) + 1, "<u8", padded, strides=(1,))
    with np.errstate(over="ignore"):
        order = np.argsort(
            -sizes, kind="stable"
        )  # longest first, so that the pieces still at work are always the first ones
        sorted_hashes = _hash_sorted(words, starts[order], sizes[order])
    hashes = np.empty_like(sorted_hashes)
    hashes[order] = sorted_hashes
    return hashes


def _hash_sorted(words: Words, starts: Any, sizes: Any) -> Words:
    import numpy as np

    one, two, three, four, five = (np.uint64(prime) for prime in _PRIMES)
    hashes = np.full(len(starts), five)
    long = int(np.searchsorted(-sizes, -_STRIPE, side="right"))
    hashes[:long] = _hash_stripes(words, starts[:long], sizes[:long])
    hashes += sizes.astype(np.uint64)
    offsets, left = starts + sizes // _STRIPE * _STRIPE, sizes % _STRIPE
    for _ in range(_STRIPE // 8 - 1):
        at = np.flatnonzero(left >= 8)
        hashes[at] = _rotate(hashes[at] ^ _round(words[offsets[at]]), 27) * one + four
        offsets[at] += 8
        left[at] -= 8
    at = np.flatnonzero(left >= 4)
    quarter = words[offsets[at]] & np.uint64(0xFFFFFFFF)
    hashes[at] = _rotate(hashes[at] ^ (quarter * one), 23) * two + three
    offsets[at] += 4
    left[at] -= 4
    for _ in range(3):
        at = np.flatnonzero(left > 0)
        byte = words[offsets[at]] & np.uint64(0xFF)
        hashes[at] = _rotate(hashes[at] ^ (byte * five), 11) * one
        offsets[at] += 1
        left[at] -= 1
    for shift, prime in ((33, two), (29, three)):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= prime
    return hashes ^ (hashes >> np.uint64(32))


def _hash_stripes(words: Words, starts: Any, sizes: Any) -> Words:
    """Return the hashes of the whole stripes at the beginning of pieces of 32 bytes and more, longest first."""
    import numpy as np

    one, two, _, four, _ = (np.uint64(prime) for prime in _PRIMES)
    zero, steps = np.uint64(0), sizes // _STRIPE
    lanes = [np.full(len(starts), first) for first in (one + two, two, zero, zero - one)]
    for step in range(int(steps[0]) if len(steps) else 0):
        working = int(np.searchsorted(-steps, -step, side="left"))
        offsets = starts[:working] + step * _STRIPE
        for number, lane in enumerate(lanes):
            lane[:working] = _round(words[offsets + 8 * number], lane[:working])
    joined = np.zeros(len(starts), np.uint64)
    for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True):
        joined += _rotate(lane, bits)
    for lane in lanes:
        joined = (joined ^ _round(lane)) * one + four
    return joined


def _round(words: Words, lane: Words | None = None) -> Words:
    import numpy as np

    one, two = np.uint64(_PRIMES[0]), np.uint64(_PRIMES[1])
    product = words * two
    return _rotate(product if lane is None else lane + product, 31) * one


def _rotate(words: Words, bits: int) -> Words:
    import numpy as np

    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))
