"""Texts of JSON columns: what a whole column is judged to be is what each of its texts is."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.schemas.conversion import json_texts
from airflow_provider_phlo.schemas.conversion.json_texts import text_as_json
from airflow_provider_phlo.schemas.values import json_text

ODD = [
    "{}",
    "[]",
    '{"a":1,"a":2}',
    '{"a":"\\ud83d"}',
    '["\\ud83d\\ude00"]',
    '["\\ud83d',
    "\\ude00]",
    '{"a":NaN}',
    "[Infinity]",
    "[-Infinity]",
    "[1e999]",
    "[" + "9" * 5_000 + "]",
    "[01]",
    "[-0]",
    "\ufeff{}",
    "{}\ufeff",
    '["\x00"]',
    "[]\x00",
    '["\x7f"]',
    '["\u2028"]',
    '["a\nb"]',
    "[1,\n2]",
    " {} ",
    "\x0b[]",
    "",
    " ",
    "text",
    "1",
    '"quoted"',
    "null",
    "{}{}",
    "[][]",
    "{} []",
    "[1]\n[2]",
    '["]',
    '[["]',
    '["]]',
    "[[1]",
    "[2]]",
    '{"a":[',
    "]}",
    ",[1]",
    "['a']",
    "[1,]",
    "{'a':1}",
    "[\u00e9]",
    '{"\U0001f600":"é"}',
    "[" * 200 + "]" * 200,
    "[" * 254 + "]" * 254,
    "[" * 255 + "]" * 255,
    "[" * 1_030 + "]" * 1_030,
    "[" * 100_000 + "]" * 100_000,
]
TEXT = pa.string()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = JSON.flatmap(lambda value: st.sampled_from([json.dumps(value), json.dumps(value, ensure_ascii=False)])).map(
    lambda text: text.encode("utf-8", "backslashreplace").decode()
)


@st.composite
def cut(draw: st.DrawFn) -> list[str]:
    """Return a document cut into pieces, which are JSON together and mostly not alone."""
    text = draw(DOCUMENTS)
    at = draw(st.integers(0, len(text)))
    return [text[:at], text[at:]]


TEXTS = st.lists(
    st.one_of(DOCUMENTS.map(lambda text: [text]), cut(), st.sampled_from([[text] for text in [*ODD, None]])),
    max_size=6,
).map(lambda pieces: [text for piece in pieces for text in piece])


def judged(values: list[str | None], kind: pa.DataType = TEXT) -> list[str | None]:
    found = text_as_json(pa.chunked_array([pa.array(values, pa.string())]).cast(kind))
    return found.cast(pa.string()).to_pylist()  # type: ignore[union-attr]


def one_by_one(values: list[str | None]) -> list[str | None]:
    return [None if value is None else json_text(value) for value in values]


@pytest.mark.long
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=TEXTS)
def test_a_column_is_judged_as_its_texts_are(values: list[str | None]) -> None:
    assert judged(values) == one_by_one(values)


@pytest.mark.parametrize("second", ODD, ids=range(len(ODD)))
def test_texts_that_are_json_only_beside_others(second: str) -> None:
    for first in ODD[:-2]:
        values = [first, second, '{"a": 1}', None]
        assert judged(values) == one_by_one(values)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_every_kind_of_text_is_judged(kind: pa.DataType) -> None:
    values = ['{"a": 1}', "b", None]
    assert judged(values, kind) == ['{"a": 1}', '"b"', None]


def test_parts_and_slices_are_judged_each() -> None:
    texts = pa.array(["not", '{"a":1}', "[2]", None, "neither", "[3]"])
    values = pa.chunked_array([texts.slice(1, 3), texts.slice(4, 2), texts.slice(0, 0)])
    assert text_as_json(values).to_pylist() == ['{"a":1}', "[2]", None, '"neither"', "[3]"]  # type: ignore[union-attr]


def test_a_column_of_json_is_read_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(json_texts, "_one_by_one", unexpected)
    values = pa.chunked_array([['{"a":1}', None, "[2]"], ['{"b":{"c":[]}}'] * 5_000])
    assert text_as_json(values) is values


def test_bytes_that_are_not_text_are_not_passed_on() -> None:
    broken = pa.array([b'{"a":"\xff"}']).view(pa.string())
    with pytest.raises(UnicodeDecodeError):
        text_as_json(pa.chunked_array([broken]))
