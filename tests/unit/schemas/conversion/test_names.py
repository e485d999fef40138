from __future__ import annotations

import dlt
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.conversion import ColumnNames, conform

normalize = dlt.Schema("test").naming.normalize_identifier


@pytest.mark.parametrize(
    ("one", "other"),
    [("名前", "住所"), ("größe", "grüße"), ("a+", "a*"), ("a/b", "a-b"), ("名前", "x"), ("é", "è"), ("🦆", "🐦")],
)
@pytest.mark.parametrize("how", ["one batch", "one record", "two batches", "Arrow"])
def test_case_04_names_that_the_convention_folds_into_one(one: str, other: str, how: str) -> None:
    assert normalize(one) == normalize(other)
    first, second = [{"id": 1, one: "a"}], [{"id": 2, other: "b"}]
    batches = {
        "one batch": [[*first, *second]],
        "one record": [[{"id": 1, one: "a", other: "b"}]],
        "two batches": [first, second],
        "Arrow": [pa.Table.from_pylist(first), pa.Table.from_pylist(second)],
    }
    names = ColumnNames(normalize, "raw.t")
    for batch in batches[how][:-1]:
        conform(batch, None, names)
    with pytest.raises(SchemaError, match="are both named") as caught:
        conform(batches[how][-1], None, names)
    assert all(part in str(caught.value) for part in (repr(one), repr(other), "raw.t"))


@pytest.mark.parametrize(("one", "other"), [("dateString", "date_string"), ("Date String", "date-string")])
def test_case_04_a_name_in_another_style_is_the_same_name(one: str, other: str) -> None:
    table, failures = conform([{one: 1}, {other: 2}], None, ColumnNames(normalize, "raw.t"))
    assert (table.to_pydict(), failures) == ({"date_string": [1, 2]}, [])
