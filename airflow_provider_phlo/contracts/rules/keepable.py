"""Promises that no value of the promised type can keep, found when a contract is read."""

from __future__ import annotations

from collections.abc import Iterator

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.contracts.model.contract import Column, Contract
from airflow_provider_phlo.contracts.rules.checks import criteria_of
from airflow_provider_phlo.contracts.rules.validation import Breach

# in DuckDB's words, which checks are made of
_WORDS: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DecimalType: "DECIMAL(38,18)",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMP WITH TIME ZONE",
    StringType: "VARCHAR",
    UUIDType: "UUID",
    BinaryType: "BLOB",
    FixedType: "BLOB",
    StructType: "STRUCT(a INTEGER)",
    ListType: "INTEGER[]",
    MapType: "MAP(VARCHAR, INTEGER)",
}


def unkeepable(contract: Contract) -> Iterator[Breach]:
    """Yield the bounds, lengths, patterns and allowed values that no column of the promised type can be judged by."""
    for promise in contract.promises:
        for column in promise.columns:
            yield from _of_column(promise.table, column, column.name)


def _of_column(table: str, column: Column, name: str) -> Iterator[Breach]:
    kinds = sorted(_WORDS[kind] for kind in column.type.kinds) if column.type else ["VARCHAR"]
    for label, criterion in criteria_of(column):
        problems = [criterion.problem(kind) for kind in kinds]
        if all(problems) and (column.type or label == "pattern"):
            yield Breach(table, name, f"{label}: {problems[0]}", column.line)
    for below in (*column.members, *filter(None, (column.items,))):
        yield from _of_column(table, below, f"{name}.{below.name}")
