"""Records as text and back: nothing of what a source had is lost."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.ingestion.records import raw_text, read_raw, record_of
from airflow_provider_phlo.schemas.conversion.records import Malformed
from tests.sizes import size

UTC = datetime.UTC
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters()),  # halves of surrogate pairs among them
    st.binary(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.times(),
)
NAMES = st.one_of(st.text(max_size=4), st.sampled_from(["$bytes", "$object", "$int", "$"]), st.integers(), st.none())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


@pytest.mark.long
@settings(max_examples=size(300, 3000), deadline=None)
@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    text = raw_text(value)
    text.encode()
    json.loads(text)
    found = read_raw(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
        (float("inf"), '{"$float":"inf"}'),
        (b"\xff", '{"$bytes":"/w=="}'),
        (decimal.Decimal("sNaN"), '{"$decimal":"sNaN"}'),
        ({1: "x"}, '{"$object":[[1,"x"]]}'),
        (pd.NaT, "null"),
        (np.float32(1.5), "1.5"),
        (np.arange(2), "[0,1]"),
        ({2, 1}, "[1,2]"),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (enum.StrEnum("Colour", {"RED": "red"}).RED, '"red"'),
        ("é\x00\ud800", '"\\u00e9\\u0000\\ud800"'),
        ("é\x00", '"é\\u0000"'),
        (Malformed('{"a":', "is_json"), '"{\\"a\\":"'),
    ],
    ids=repr,
)
def test_how_it_is_written(value: Any, text: str) -> None:
    assert raw_text(value) == text


def test_not_a_number() -> None:
    assert math.isnan(read_raw(raw_text(float("nan"))))


def test_integers_of_any_length() -> None:
    for number in (10**5000, -(10**5000), 10**4001 - 1):
        assert read_raw(raw_text({"n": number})) == {"n": number}


@pytest.mark.long
def test_nesting_of_any_depth_is_written() -> None:
    value: Any = "core"
    for _ in range(100_000):
        value = {"a": [value]}
    text = raw_text(value)
    assert text.startswith('{"a":[{"a":[')
    assert text.count("[") == 100_000
    with pytest.raises(ValueError, match="nested too deeply"):
        read_raw(text)


# --- lines of JSON


@pytest.mark.parametrize("line", ['{"a": 1}', b'{"a": 1}', bytearray(b' {"a": 1}\n'), {"a": 1}])
def test_lines_are_records(line: Any) -> None:
    assert record_of(line) == {"a": 1}


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("", "is_json"),
        ('{"a": 1', "is_json"),
        (b'{"a": "\xff"}', "is_json"),
        ('{"a": 1e999}', "is_json"),
        ('{"a": ' + "9" * 5000 + "}", "is_json"),
        ("[" * 100_000, "is_json"),
        ('{"a": 1, "a": 2}', "unique_names"),
        ('{"x": {"a": 1, "a": 1}}', "unique_names"),
        ("[1]", "is_record"),
        ("null", "is_record"),
        (None, "is_record"),
        (5, "is_record"),
        ([{"a": 1}], "is_record"),
    ],
)
def test_lines_that_are_not_records(line: Any, check: str) -> None:
    found = record_of(line)
    assert isinstance(found, Malformed)
    assert (found.check, found.raw, dict(found)) == (check, line, {})
    assert record_of(read_raw(raw_text(found))).check == check  # type: ignore[attr-defined]
