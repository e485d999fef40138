"""The tables of docs/validation.md, each value in every form in which a row can come."""

from __future__ import annotations

import datetime
import decimal
import math
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import dlt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandera.pandas import Field
from typing_extensions import TypedDict

from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.ingestion.extraction import chunks
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.row_hash import is_deep
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import ModelColumns, model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.validation.batch import validate
from airflow_provider_phlo.terms import METADATA_COLUMNS
from tests.sizes import size

PAGE = Path(__file__).parents[4] / "docs" / "validation.md"
UTC = datetime.UTC
normalize = dlt.Schema("test").naming.normalize_identifier


class Point(TypedDict):
    x: int
    y: float


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


NAMES = {
    "Annotated": Annotated,
    "np": np,
    "pa": pa,
    "pd": pd,
    "Decimal": decimal.Decimal,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "UTC": UTC,
    "Point": Point,
    "deep": deep,
}


def conversions() -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the page's first table."""
    for text in PAGE.read_text().partition("| declared |")[2].partition("\n\n")[0].splitlines()[2:]:
        declared, value, becomes = (cell.strip() for cell in text.strip("|").split(" | "))
        yield declared.strip("`"), value.strip("`"), becomes


def declare(annotation: Any) -> ModelColumns:
    return model_columns(
        type("Model", (PhloSchema,), {"__annotations__": {"x": annotation}, "x": Field(nullable=True)})
    )


def forms(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a source of one row for each form that can hold ``value``."""
    yield "record", [{"x": value}]
    yield "page of records", [[{"x": value}, {"y": 1}][:1]]
    yield "pandas", pd.DataFrame({"x": pd.Series([value], dtype=object)})
    if is_deep(value):  # nor has Arrow
        return
    try:
        table = pa.table({"x": [value]})
        same = table.to_pylist() == [{"x": value}] or value != value
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return
    if not same:  # a struct of other members, for one
        return
    yield "arrow", table
    yield "arrow batches", iter(table.to_batches())
    yield "pandas, typed by arrow", table.to_pandas(types_mapper=pd.ArrowDtype)
    yield "polars", pl.DataFrame(table)


def outcome(source: Any, declared: ModelColumns) -> tuple[Any, list[str]]:
    [chunk] = chunks(source, "raw.t", 50)
    table, failures = conform(chunk, declared, normalize)
    _, failures = validate(table, declared, conversion_failures=failures)
    return table["x"][0].as_py(), [failure.check for failure in failures]


@pytest.mark.parametrize(("annotation", "value", "becomes"), conversions())
def test_what_a_value_becomes(annotation: str, value: str, becomes: str) -> None:
    declared, given_value = declare(eval(annotation, dict(NAMES))), eval(value, dict(NAMES))
    expected, checks = None, []
    if becomes.startswith("bad: "):
        checks = [becomes.removeprefix("bad: ")]
    elif becomes != "NULL":
        expected = eval(becomes.strip("`"), dict(NAMES))
    for form, source in forms(given_value):
        found = outcome(source, declared)
        assert found == (expected, checks), form
        assert expected is None or type(found[0]) is type(expected), form


def test_the_page_has_every_type() -> None:
    assert {annotation for annotation, _, _ in conversions()} == {
        "int", "float", "str", "bool", "datetime", "date", "Decimal", "bytes", "dict", "list[int]", "Point",
        "np.int8", "np.uint8", "np.int16", "np.uint16", "np.uint32", "np.uint64", "pd.UInt8Dtype",
        "Annotated[pd.ArrowDtype, pa.uint8()]",
    }  # fmt: skip
    assert len(list(conversions())) > 70


# --- whole batches in every form

COLUMNS: dict[str, tuple[Any, pa.DataType, st.SearchStrategy[Any]]] = {
    "n": (int, pa.int64(), st.integers(-5, 5) | st.sampled_from([2**53 + 1, -(2**63)])),
    "f": (float, pa.float64(), st.floats(-2, 2) | st.sampled_from([math.inf, math.nan])),
    "s": (str, pa.string(), st.text(max_size=3) | st.just("a\x00")),
    "b": (bool, pa.bool_(), st.booleans()),
    "t": (
        datetime.datetime,
        pa.timestamp("us", "UTC"),
        st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2100, 1, 1), timezones=st.just(UTC)),
    ),
    "d": (datetime.date, pa.date32(), st.dates(datetime.date(2000, 1, 1))),
    "c": (decimal.Decimal, pa.decimal128(20, 3), st.decimals(-9, 9, places=3)),
    "y": (bytes, pa.binary(), st.binary(max_size=3)),
    "as_text": (int, pa.string(), st.sampled_from(["1", " 2", "x", "", "1.0", "9" * 30])),
    "as_time": (datetime.datetime, pa.string(), st.sampled_from(["2024-01-01", "2024-01-01T00:00:00+01:00", "no"])),
    "as_float": (int, pa.float64(), st.sampled_from([1.0, 1.5, math.nan, 2.0**60, math.inf])),
    "items": (list[int], pa.list_(pa.int64()), st.lists(st.integers(0, 9), max_size=2)),
    "point": (Point, pa.struct([("x", pa.int64()), ("y", pa.float64())]), st.just({"x": 1, "y": None})),
    "json": (dict, pa.struct([("x", pa.int64()), ("y", pa.string())]), st.just({"x": 1, "y": "z"})),
    "undeclared": (None, pa.int64(), st.integers(-9, 9)),
    "undeclaredNested": (None, pa.struct([("a", pa.int64())]), st.just({"a": 1})),
}
RULES: dict[str, dict[str, Any]] = {
    "n": {"ge": -3, "isin": [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 2**53 + 1]},
    "f": {"le": 1},
    "s": {"nullable": False, "str_length": {"max_value": 2}},
    "t": {"ge": datetime.datetime(2020, 1, 1)},
}


class Wide(PhloSchema):
    """Columns are added below: every kind, most of them nullable."""

    class Config:
        unique = None


WIDE = model_columns(
    type(
        "Wide",
        (PhloSchema,),
        {
            "__annotations__": {name: annotation for name, (annotation, _, _) in COLUMNS.items() if annotation},
            **{
                name: Field(**{"nullable": True, **RULES.get(name, {})})
                for name, (annotation, _, _) in COLUMNS.items()
                if annotation
            },
        },
    )
)
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, _, values) in COLUMNS.items()}),
    min_size=1,
    max_size=6,
)


def in_forms(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = pa.Table.from_pylist(rows, pa.schema([(name, kind) for name, (_, kind, _) in COLUMNS.items()]))
    return {
        "records": rows,
        "arrow": table,
        "one batch per row": iter(table.to_batches(max_chunksize=1)),
        "pandas, typed by arrow": table.to_pandas(types_mapper=pd.ArrowDtype),
        "polars": pl.DataFrame(table),
    }


def whole_outcome(source: Any, folder: Path) -> tuple[Any, ...]:
    """Return why which rows are bad, and the good ones as they are staged."""
    batch = stage(
        lambda: source,
        StagingPlan("raw.t", ("n",), WIDE, strict=False, identity=("n",)),
        root=folder / "staging",
        token=uuid.uuid4().hex,
        partition_date="2024-01-15",
        run_id="r",
        pipelines_dir=folder / "dlt",
    )
    assert batch is not None
    rejected = staged_batches.read_rejected(folder / "staging", batch).to_pylist()
    good = staged_batches.read_rows(folder / "staging", batch)
    names = sorted({*good.column_names} - {*METADATA_COLUMNS} | {"_phlo_row_hash"} & {*good.column_names})
    return (
        [(row["source_position"], sorted(row["reason"].split("; "))) for row in rejected],
        good.select(names).schema,
        good.select(names).to_pylist(),
    )


@pytest.mark.long
@settings(max_examples=size(60, 600), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_the_same_rows_have_the_same_outcome_in_any_form(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = {form: whole_outcome(source, Path(folder)) for form, source in in_forms(rows).items()}
    for form, found in outcomes.items():
        assert found == outcomes["records"], form
