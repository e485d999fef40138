"""Is there a row of a day? Answered from metadata where metadata can know."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.run_branches import create
from airflow_provider_phlo.iceberg.files.partition_days import has_partition
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace

DAY, MOMENT = "_phlo_partition_date", "taken_at"
ROWS = pa.table(
    {
        DAY: [date(2024, 1, 15), date(2024, 1, 17), None],
        MOMENT: [datetime(2024, 1, 15, 23, 59, 59, tzinfo=UTC), datetime(2024, 1, 17, tzinfo=UTC), None],
        "local": [datetime(2024, 1, 15), datetime(2024, 1, 17, 12), None],
        "text": ["2024-01-15", "2024-01-17", None],
        "number": [15, 17, None],
    }
)
ABSENT = ("2024-01-14", "2024-01-16", "2024-01-18")


@pytest.fixture
def catalog(catalog):
    ensure_namespace(catalog, "raw")
    return catalog


@pytest.fixture
def make(catalog):
    """Return a function that makes ``raw.t``, partitioned by a transform of a column."""

    def make(transform=None, column=DAY, rows=ROWS):
        table = catalog.create_table("raw.t", ROWS.schema)
        if transform:
            with table.update_spec() as update:
                update.add_field(column, transform, "p")
        table.append(rows)
        return table

    return make


def lose_data(table):
    """Remove the data files: what still answers did not read them."""
    for file in table.inspect.files()["file_path"].to_pylist():
        Path(file.removeprefix("file://")).unlink()


@pytest.mark.long
@pytest.mark.parametrize("column", [DAY, MOMENT, "local", "text"])
@pytest.mark.parametrize("transform", [None, IdentityTransform(), MonthTransform()], ids=str)
def test_every_kind_of_column(catalog, make, column, transform):
    make(transform, DAY)
    assert has_partition(catalog, "raw.t", column, "2024-01-15")
    assert has_partition(catalog, "raw.t", column, "2024-01-17")
    assert not any(has_partition(catalog, "raw.t", column, day) for day in ABSENT)


@pytest.mark.parametrize(("column", "transform"), [(DAY, IdentityTransform()), (MOMENT, DayTransform())])
def test_partitioned_tables_are_not_read(catalog, make, column, transform):
    lose_data(make(transform, column))
    assert has_partition(catalog, "raw.t", column, "2024-01-15")
    assert not any(has_partition(catalog, "raw.t", column, day) for day in ABSENT)


def test_bounds_rule_files_out(catalog, make):
    lose_data(make())
    assert not any(has_partition(catalog, "raw.t", DAY, day) for day in ("2024-01-14", "2024-01-18"))


def test_nothing_there_yet(catalog):
    assert not has_partition(catalog, "nope.t", DAY, "2024-01-15")
    assert not has_partition(catalog, "raw.t", DAY, "2024-01-15")
    catalog.create_table("raw.t", ROWS.schema)
    assert not has_partition(catalog, "raw.t", DAY, "2024-01-15")


@pytest.mark.parametrize("new", [True, False], ids=["born on a branch", "on main before"])
def test_a_branch_is_not_published(catalog, make, new):
    if new:
        overwrite_if_changed(catalog, "raw.t", ROWS, branch="phlo_x")
    else:
        make(rows=ROWS.slice(1))
        create(catalog, "raw.t", "phlo_x")
        catalog.load_table("raw.t").append(ROWS, branch="phlo_x")
    assert catalog.load_table("raw.t").scan().use_ref("phlo_x").count() >= len(ROWS)
    assert not has_partition(catalog, "raw.t", DAY, "2024-01-15")


@pytest.mark.parametrize("transform", [None, IdentityTransform()], ids=str)
def test_deleted_rows_do_not_count(catalog, make, transform):
    make(transform).delete(f"{DAY} == '2024-01-15'")
    assert not has_partition(catalog, "raw.t", DAY, "2024-01-15")
    assert has_partition(catalog, "raw.t", DAY, "2024-01-17")


def test_files_of_an_older_partitioning_count(catalog, make):
    table = make()
    with table.update_spec() as update:
        update.add_field(DAY, IdentityTransform(), "p")
    table.append(ROWS.set_column(0, DAY, pa.array([date(2024, 1, 25), None, None])))
    for day, there in (("2024-01-15", True), ("2024-01-25", True), ("2024-01-16", False)):
        assert has_partition(catalog, "raw.t", DAY, day) is there


def test_columns_that_hold_no_day(catalog):
    catalog.create_table("raw.t", ROWS.schema)
    with pytest.raises(
        ConfigurationError, match=r"raw\.t has no column day: set partition_column to one of _phlo_part"
    ):
        has_partition(catalog, "raw.t", "day", "2024-01-15")
    with pytest.raises(ConfigurationError, match=r"Column number of raw\.t is long, which holds no day"):
        has_partition(catalog, "raw.t", "number", "2024-01-15")
