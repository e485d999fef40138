"""Every type that a model can declare goes through ingestion and merge, and comes back from a query."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
import pytest
from pandera.pandas import Field
from typing_extensions import TypedDict

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.cli.lake.query import run as query
from airflow_provider_phlo.schemas import PhloSchema, schema_diff
from tests.expect import expect


class Part(TypedDict):
    x: Annotated[int, pa.int32()]
    at: datetime.time


class Things(PhloSchema):
    id: int
    clock: datetime.time | None = Field(nullable=True)
    ref: uuid.UUID | None = Field(nullable=True)
    part: Part | None = Field(nullable=True)
    parts: list[Part] | None = Field(nullable=True)
    code: Annotated[pd.ArrowDtype, pa.binary(4)] | None = Field(nullable=True)
    local: Annotated[pd.ArrowDtype, pa.timestamp("us")] | None = Field(nullable=True)
    small: Annotated[pd.ArrowDtype, pa.int32()] | None = Field(nullable=True, ge=1)
    counts: Annotated[pd.ArrowDtype, pa.map_(pa.string(), pa.int64())] | None = Field(nullable=True)
    price: Annotated[pd.ArrowDtype, pa.decimal128(10, 2)] | None = Field(nullable=True)


REF = uuid.UUID(int=5)
RECORD = {
    "id": 1, "clock": "01:02:03", "ref": str(REF), "part": {"x": 1, "at": "01:00"}, "parts": [{"x": 2}],
    "code": b"abcd", "local": "2024-01-01T10:00:00", "small": "5", "counts": {"a": 1}, "price": "1.5",
}  # fmt: skip
STORED = {
    "id": 1, "clock": datetime.time(1, 2, 3), "ref": REF, "part": {"x": 1, "at": datetime.time(1)},
    "parts": [{"x": 2, "at": None}], "code": b"abcd", "local": datetime.datetime(2024, 1, 1, 10), "small": 5,
    "counts": {"a": 1}, "price": decimal.Decimal("1.50"),
}  # fmt: skip


def ingestion(model: type[PhloSchema], *batches: list[dict[str, Any]], **options: Any) -> Any:
    """Return the ingestion whose first run reads the first batch, and so on; the last one again and again."""
    left = list(batches)

    def things() -> list[dict[str, Any]]:
        return left.pop(0) if len(left) > 1 else left[0]

    return phlo_ingestion(table_name="things", unique_key="id", validation_schema=model, group="g", **options)(things)


def test_every_type_is_written_and_read(run_ingestion: Any, catalog: Any) -> None:
    things = ingestion(Things, [RECORD, {"id": 2}])
    assert run_ingestion(things)["merge"]["inserted"] == 2
    assert run_ingestion(things, run_id="manual__two")["merge"]["unchanged"] == 2
    found = query(catalog, f"SELECT {', '.join(STORED)} FROM raw.things ORDER BY id").rows
    assert dict(zip(STORED, found[0], strict=True)) == STORED
    assert found[1] == (2, *[None] * (len(STORED) - 1))
    assert schema_diff(Things, catalog.load_table("raw.things")) == ()


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (uuid.UUID, [REF, str(uuid.UUID(int=6))]),
        (datetime.time, ["01:00", "02:00:00.5"]),
        (Annotated[pd.ArrowDtype, pa.binary(4)], [b"aaaa", b"bbbb"]),
    ],
)
@pytest.mark.parametrize("metadata_columns", [True, False])
def test_rare_types_as_keys(run_ingestion: Any, kind: Any, keys: list[Any], metadata_columns: bool) -> None:
    model = type("Keyed", (PhloSchema,), {"__annotations__": {"id": kind, "value": int}})
    first, second = ([{"id": keys[0], "value": 1}, {"id": keys[1], "value": value}] for value in (1, 2))
    keyed = ingestion(model, first, second, add_metadata_columns=metadata_columns)
    run_ingestion(keyed)
    merged = run_ingestion(keyed, run_id="manual__two")["merge"]
    expect(merged, unchanged=1, updated=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ref", "no uuid"),
        ("ref", b"short"),
        ("code", b"longer"),
        ("clock", "25:00"),
        ("counts", {"a": "b"}),
        ("small", 2**31),
    ],
)
def test_values_of_another_type_are_bad_rows(run_ingestion: Any, column: str, value: Any) -> None:
    things = ingestion(Things, [{"id": 1, column: value}, {"id": 2}], strict_validation=False)
    found = run_ingestion(things)
    expect(found["merge"], inserted=1, quarantined=1)
