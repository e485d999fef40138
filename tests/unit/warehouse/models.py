"""Models of two entities, and rows of them."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import TIMESTAMP
from airflow_provider_phlo.warehouse.tables import StageTable


class Order(PhloSchema):
    """An order."""

    order_id: str = Field(unique=True)
    customer: str = Field()
    amount: float | None = Field(nullable=True, ge=0)
    tags: list[str] | None = Field(nullable=True)
    updated_at: datetime.datetime = Field()


class Line(PhloSchema):
    """A line of an order."""

    line_id: int = Field(unique=True)
    order_id: str = Field()
    quantity: int | None = Field(nullable=True)


ORDERS = StageTable("orders", "raw.orders", ("order_id",), Order, order_by="updated_at")
LINES = StageTable("lines", "raw.order_lines", ("line_id",), "tests.unit.warehouse.models:Line")
ORDER_SCHEMA = pa.schema(
    [
        ("order_id", pa.string()),
        ("customer", pa.string()),
        ("amount", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("updated_at", TIMESTAMP),
    ]
)
LINE_SCHEMA = pa.schema([("line_id", pa.int64()), ("order_id", pa.string()), ("quantity", pa.int64())])


def at(minute: int) -> datetime.datetime:
    """Return an instant."""
    return datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC) + datetime.timedelta(minutes=minute)


def order(key: str, minute: int, amount: float | None = 1.0, **values: Any) -> dict[str, Any]:
    """Return an order as it was at a minute."""
    return {
        "order_id": key, "customer": "octo", "amount": amount, "tags": ["a", key], "updated_at": at(minute), **values
    }  # fmt: skip


def orders(*rows: dict[str, Any]) -> pa.Table:
    """Return orders as Arrow."""
    return pa.Table.from_pylist(list(rows), ORDER_SCHEMA)


def lines(*rows: tuple[int, str, int | None]) -> pa.Table:
    """Return lines as Arrow."""
    return pa.Table.from_pylist([dict(zip(LINE_SCHEMA.names, row, strict=True)) for row in rows], LINE_SCHEMA)
