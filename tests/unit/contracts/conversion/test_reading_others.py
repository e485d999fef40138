"""Contracts from models and tables: what they say becomes promises, and what contracts have no words for is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pandera.pandas import Field, check
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, LongType, NestedField, StringType, StructType

from airflow_provider_phlo.contracts.conversion import dbt, pandera, table
from airflow_provider_phlo.contracts.model.contract import Bounds
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.schemas import PhloSchema


class Reading(PhloSchema):
    """
    A reading.

    Of a sensor.
    """

    _id: str = Field(unique=True, str_matches=r"^(?:[a-f0-9]+)\Z", description="its id")
    value: int = Field(gt=0, le=600, metadata={"pii": True})
    kind: str = Field(nullable=True, isin=["sgv", "mbg"], str_startswith="s")
    at: datetime = Field(ge=datetime(2020, 1, 1, tzinfo=UTC))
    warned: int = Field(ge=0, raise_warning=True)

    @check("value")
    def is_even(cls, values: object) -> bool:
        return True

    class Config:
        unique = ["value", "at"]


def test_a_model() -> None:
    contract, left_out = pandera.read_model(Reading, "raw.readings")
    (promise,) = contract.promises
    assert (contract.name, contract.version, contract.status) == ("readings", "0.1.0", "draft")
    assert contract.description == "A reading.\n\nOf a sensor."
    key, value, kind, at, _ = promise.columns
    assert (key.name, key.pattern, key.unique, key.required, key.description) == (
        "_id",
        "^(?:[a-f0-9]+)$",
        True,
        True,
        "its id",
    )
    assert (value.values, value.pii) == (Bounds(0, 600, exclusive_low=True), True)
    assert (kind.allowed, kind.required) == (("sgv", "mbg"), False)
    assert (at.type and at.type.text, at.values.low) == ("timestamptz", "2020-01-01T00:00:00+00:00")
    assert left_out == [
        "unique together: value, at",
        "value: is_even",
        "kind: str_startswith('s')",
        "warned: greater_than_or_equal_to, which only warns",
    ]


DBT = """
models:
  - name: orders
    description: What was sold.
    columns:
      - name: id
        data_type: bigint
        data_tests:
          - not_null
          - unique: {config: {severity: warn}}
      - name: state
        data_tests: [{accepted_values: {values: [new, "it''s"]}}, {relationships: {to: ref('x'), field: id}}]
      - name: total
        meta: {pii: true}
        data_type: money
        tests:
          - dbt_utils.accepted_range: {arguments: {min_value: 0, inclusive: false}}
          - dbt_utils.accepted_range: {arguments: {max_value: "now()"}}
          - dbt_expectations.expect_column_values_to_match_regex: {regex: "^a", is_raw: true}
          - not_null: {where: "id > 3"}
    data_tests: [dbt_utils.equal_rowcount: {compare_model: ref('x')}]
  - name: bare
"""


def test_a_dbt_model(tmp_path: Path) -> None:
    path = tmp_path / "models.yml"
    path.write_text(DBT)
    contract, left_out = dbt.read_model(path, "orders")
    key, state, total = contract.promises[0].columns
    assert (key.required, key.unique, key.type and key.type.text) == (True, False, "bigint")
    assert state.allowed == ("new", "it's")
    assert (total.values, total.pii, total.type, total.required) == (Bounds(0, exclusive_low=True), True, None, False)
    assert left_out == [
        "dbt_utils.equal_rowcount of the whole model",
        "id: unique (it only warns)",
        "state: relationships",
        "total: data_type money, which is not known here",
        "total: dbt_utils.accepted_range",
        "total: dbt_expectations.expect_column_values_to_match_regex",
        "total: not_null (it applies to some rows only)",
    ]
    with pytest.raises(ConfigurationError, match=r"has no model order\. Did you mean orders"):
        dbt.read_model(path, "order")
    with pytest.raises(ConfigurationError, match=r"bare in .* declares no columns"):
        dbt.read_model(path, "bare")


def test_a_table(catalog) -> None:
    lines = StructType(NestedField(6, "sku", StringType(), required=True))
    schema = Schema(
        NestedField(1, "id", LongType(), required=True, doc="the key"),
        NestedField(2, "lines", ListType(5, lines)),
        identifier_field_ids=[1],
    )
    catalog.create_namespace_if_not_exists("raw")
    made = catalog.create_table("raw.orders", schema, properties={"comment": "What was sold."})
    contract = table.read(made)
    (promise,) = contract.promises
    assert (contract.name, contract.description, promise.primary_key) == ("orders", "What was sold.", ("id",))
    key, listed = promise.columns
    assert (key.required, key.description, key.type and key.type.text) == (True, "the key", "long")
    assert [(each.name, each.required) for each in listed.members] == [("sku", True)]


def test_every_arrow_type_of_a_table_has_a_name_in_contracts() -> None:
    from itertools import count

    from airflow_provider_phlo.contracts.conversion.iceberg_columns import type_of
    from airflow_provider_phlo.schemas.types import iceberg_type

    kinds = [
        *(pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.binary(4)),
        *(pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.decimal128(9, 2), pa.uuid()),
        *(pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.map_(pa.string(), pa.int64())),
    ]
    for kind in kinds:
        made = iceberg_type(kind, count(1))
        promised = type_of(made)
        assert promised, kind
        assert promised.keeps(made), kind
