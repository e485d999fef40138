"""JSON is read with all its digits, and says where a name is there twice."""

from __future__ import annotations

import decimal
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exact_json import ExactNumber, RepeatedNames, read_json, read_quickly
from tests.sizes import size

READERS = [lambda text: read_json(text), lambda text: read_quickly(text.encode())]

NUMBERS = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@given(text=NUMBERS)
@settings(max_examples=size(150, 20_000), deadline=None)
def test_a_number_is_the_float_that_prints_it_or_knows_its_digits(text: str) -> None:
    for read in READERS:
        try:
            [found] = read(f"[{text}]")
        except ValueError:
            assert abs(decimal.Decimal(text)) > decimal.Decimal(2) ** 1023
            continue
        if isinstance(found, int):
            assert str(found) == text or text == "-0"
        elif isinstance(found, ExactNumber):
            assert found.text == str(found) == text
            assert found == float(text)
            assert decimal.Decimal(text) not in (decimal.Decimal(repr(float(found))), decimal.Decimal(float(found)))
        else:
            assert decimal.Decimal(text) in (decimal.Decimal(repr(found)), decimal.Decimal(found))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("0.10000000000000001", 0.1),  # as C writes a float
        ("0.100000000000000010", 0.1),
        ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
        ("0.100000000000000001", decimal.Decimal("0.100000000000000001")),
        ("1e-400", decimal.Decimal("1e-400")),
        ("1.50000000000000000000", 1.5),
        ("9007199254740993.0", 9007199254740992.0),
    ],
)
def test_what_a_column_of_its_own_holds(text: str, plain: Any) -> None:
    for read in READERS:
        found = read(text)
        assert (found.plain if isinstance(found, ExactNumber) else found) == plain
        assert pickle.loads(pickle.dumps(found)) == found


TREES = st.recursive(
    st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=4), st.sampled_from([":", '":', "a:b", "\u003a", '"'])),
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.lists(st.tuples(st.sampled_from(["a", "b", ":"]), inside), max_size=3).map(tuple),
    ),
    max_leaves=8,
)


def written(tree: Any, escape: bool) -> str:
    if isinstance(tree, tuple):
        return "{ " + " , ".join(f"{written(name, escape)} : {written(each, escape)}" for name, each in tree) + "}"
    if isinstance(tree, list):
        return f"[{','.join(written(each, escape) for each in tree)}]"
    text = json.dumps(tree)
    return text.replace(":", "\\u003A") if escape else text


def expected(tree: Any) -> Any:
    if isinstance(tree, tuple):
        names = [name for name, _ in tree]
        members = [(name, expected(each)) for name, each in tree]
        return dict(members) if len(set(names)) == len(names) else ["twice", *members]
    return [expected(each) for each in tree] if isinstance(tree, list) else tree


def shown(found: Any) -> Any:
    if isinstance(found, RepeatedNames):
        return ["twice", *((name, shown(each)) for name, each in found.pairs)]
    if isinstance(found, dict):
        return {name: shown(each) for name, each in found.items()}
    return [shown(each) for each in found] if isinstance(found, list) else found


@given(tree=TREES, escape=st.booleans())
@settings(max_examples=size(150, 20_000), deadline=None)
def test_an_object_with_a_name_twice_is_marked(tree: Any, escape: bool) -> None:
    for read in READERS:
        assert shown(read(written(tree, escape))) == expected(tree)


def test_nothing_is_made_of_an_object_with_a_name_twice() -> None:
    found = read_json('{"a": 1, "a": 2}')
    assert (found["a"], found.get("b"), len(found)) == (2, None, 1)
    for make in (list, dict, lambda each: {**each}, lambda each: [*each.items()]):
        with pytest.raises(ValueError, match="same name twice"):
            make(found)
