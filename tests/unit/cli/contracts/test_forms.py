"""``phlo contract init|export|import`` in a project of a DAG file, a dbt model and a table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake

DAG = """
from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.schemas import PhloSchema
from pandera.pandas import Field

class Order(PhloSchema):
    id: int = Field(unique=True)
    total: float = Field(ge=0)

@phlo_ingestion(table_name="orders", unique_key="id", validation_schema=Order, group="shop")
def orders(): ...
"""
DBT = "models: [{name: mrt_orders, columns: [{name: total, data_type: double, data_tests: [not_null]}]}]"


@pytest.fixture
def phlo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any) -> Any:
    ensure_table(open_lake(tmp_path / "home"), "raw.notes", arrow_to_iceberg([pa.field("text", pa.string())]))
    for name, text in (("dags/orders.py", DAG), ("include/dbt/models/orders.yml", DBT)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return partial(run_phlo, "contract")


def test_a_contract_is_begun_from_what_there_is(phlo: Any) -> None:
    code, out, err = phlo("init", "orders", "--owner", "sales")
    assert (code, err) == (0, "")
    assert out.startswith("include/contracts/orders.yaml: 2 columns of raw.orders.\n")
    contract = read_contract(Path("include/contracts/orders.yaml"))
    assert (contract.owner, contract.status, contract.promises[0].columns[1].values.low) == ("sales", "draft", 0)
    code, _, err = phlo("init", "orders")
    assert (code, "orders.yaml is a contract orders already" in err) == (2, True)
    code, out, _ = phlo("init", "raw.notes", "--format", "odcs")
    assert (code, "Nobody owns it yet" in out) == (0, True)
    assert read_contract(Path("include/contracts/notes.yaml")).promises[0].table == "raw.notes"
    assert phlo("validate", "orders", "notes")[0] == 1  # nobody owns the notes
    code, _, err = phlo("init", "raw.notes", "--name", "orders")
    assert (code, "orders.yaml is a contract orders already: give another --name" in err) == (2, True)
    assert "such as raw_notes." in err
    code, _, err = phlo("init", "raw.nothing")
    assert (code, "Table raw.nothing does not exist" in err) == (2, True)


def test_forms_and_what_they_have_no_words_for(phlo: Any) -> None:
    phlo("init", "orders", "--owner", "sales")
    code, out, err = phlo("export", "orders", "--format", "dbt", "--file", "include/dbt/models/raw.yml")
    assert (code, out, err) == (0, "include/dbt/models/raw.yml is written.\n", "")
    code, again, err = phlo("import", "include/dbt/models/raw.yml:orders", "--from", "dbt")
    assert (code, err, again) == (0, "", Path("include/contracts/orders.yaml").read_text())
    code, out, _ = phlo("export", "orders", "--format", "pandera", "--file", "models.py")
    code, again, err = phlo("import", "models.py:Orders", "--from", "pandera")
    assert (code, err, again) == (0, "", Path("include/contracts/orders.yaml").read_text())
    standard = Path("orders.odcs.yaml")
    phlo("export", "orders", "--format", "odcs", "--file", str(standard))
    standard.write_text(standard.read_text() + "servers: [{server: x, type: kafka}]\n")
    code, again, err = phlo("import", str(standard), "--from", "odcs")
    assert (code, again) == (0, Path("include/contracts/orders.yaml").read_text())
    assert err == "phlo contract import: short has no words for\n  servers\n"


def test_the_names_of_known_models_are_enough(phlo: Any) -> None:
    assert "table: raw.orders" in phlo("import", "Order", "--from", "pandera")[1]
    assert "name: mrt_orders" in phlo("import", "mrt_orders", "--from", "dbt")[1]
    assert "No model is called Nothing" in phlo("import", "Nothing", "--from", "pandera")[2]
    assert "No dbt model is called nothing" in phlo("import", "nothing", "--from", "dbt")[2]
    assert "There is no contract nothing.yaml" in phlo("import", "nothing.yaml", "--from", "odcs")[2]


def test_tables_of_like_names_have_files_of_their_own(phlo: Any, tmp_path: Path) -> None:
    lake = open_lake(tmp_path / "home")
    names = ("a$b", "a@b", "a b", "a-b", "a_b")
    for name in names:
        ensure_table(lake, f"raw.{name}", arrow_to_iceberg([pa.field("text", pa.string())]))
        assert phlo("init", f"raw.{name}")[0] == 0
    assert {each.stem for each in Path("include/contracts").iterdir()} == set(names)
    assert phlo("init", "raw.notes", "--name", "c/b")[0] == 0
    code, _, err = phlo("init", "raw.notes", "--name", "c:b")
    assert (code, err.count("is there already, and is not overwritten: give another --name")) == (2, 1)
