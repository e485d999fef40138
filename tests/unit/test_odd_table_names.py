"""Tables by names that other writers give: everything that is done with a table is done with them."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset
from pandera.pandas import Field

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.quality import CountCheck, CustomSQLCheck, NullCheck
from airflow_provider_phlo.schemas import PhloSchema

NAMES = ("raw.order-lines", "2024.01", "raw.名前", "my ns.my table", "raw.$x@y", "select.table", "a.b.t")


class Row(PhloSchema):
    id: int = Field(unique=True)
    value: float = Field(ge=0, nullable=True)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_case_03_a_table_by_any_name(name: str, run_ingestion: Any, run_phlo: Any, tmp_path: Any, monkeypatch: Any):
    (tmp_path / "include").mkdir()  # the project is here: others keep nothing in it
    monkeypatch.chdir(tmp_path)
    namespace, _, table = name.rpartition(".")
    quoted = f'"{namespace}"."{table}"'
    given = [{"id": 1, "value": 1.0}, {"id": 2, "value": -1.0}]

    @phlo_ingestion(
        table_name=name,
        unique_key="id",
        validation_schema=Row,
        group="names",
        strict_validation=False,
        audit=[
            *(CountCheck(min_count=1), NullCheck(columns=["id"])),
            CustomSQLCheck(query=f"SELECT count(*) FROM {quoted} WHERE value < 0", expected_result=0, description="x"),
        ],
    )
    def rows(partition_date: str) -> Any:
        return given

    first = run_ingestion(rows, conf={"partition_date": "2024-01-15"})
    assert first["publish"]["rows"] == 1
    given[0] = {"id": 1, "value": 2.0}
    run_ingestion(rows, conf={"partition_date": "2024-01-16"}, run_id="two")
    assert run_phlo("query", f"SELECT id, value FROM {quoted}", "--output", "csv")[1].endswith("id,value\n1,2.0\n")
    for command in (
        *(["catalog", "describe"], ["catalog", "history"], ["maintenance", "plan"], ["maintenance", "run"]),
        *(["quarantine", "list"], ["quarantine", "show"], ["schema", "show"], ["contract", "init"]),
    ):
        code, out, err = run_phlo(*command, name)
        assert code == 0, (command, out, err)
    outlets = [outlet for task in rows.dag().tasks for outlet in task.outlets if isinstance(outlet, Asset)]
    assert name in {asset.name for asset in outlets}
    assert all(Asset(name="x", uri=asset.uri).uri == asset.uri for asset in outlets), "Airflow leaves the URI as it is"
