"""The disk of the warehouse fills up while a run merges: the run says so, the table stays, a retry with room lands."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.warehouse.stage import Stage

TABLE, DAY = "raw.t", "2024-01-15"
MERGE = TableDefinition(TABLE, MergePlan(key=("k",)), metadata_columns=False)
KIB, PAGE = 1024, 4096
ROOM = (0, 1, 2, 3, 5, 8, 11, 14, 18, 22, 28, 40, 80)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["warehouse", "warehouse and catalog"])
def catalog(request: pytest.FixtureRequest, small_disk: Path, tmp_path: Path) -> Iterator[Catalog]:
    """Return a catalog whose warehouse is on the small disk, alone or with the catalog's SQLite."""
    properties = embedded_properties(tmp_path if request.param == "warehouse" else small_disk)
    opened = open_catalog("phlo", {**properties, "warehouse": f"file://{small_disk}"})
    yield opened
    opened.close()


def noise(keys: range, size: int) -> pa.Table:
    return pa.table({"k": list(keys), "v": [os.urandom(size).hex() for _ in keys]})


def run(catalog: Catalog, root: Path, token: str, rows: pa.Table) -> dict[str, Any]:
    """Stage a run's rows once, then land and publish as often as a test wants."""
    staged = staged_batches.find(root, TABLE, DAY, token)
    if staged is None:
        writer = staged_batches.BatchWriter(root, TABLE, DAY, token)
        writer.write(rows)
        facts = {"read": len(rows), "rows": len(rows)}
        staged = writer.finish(
            staged_batches.StagedBatch(TABLE, token, DAY, token, writer.attempt, tuple(writer.files), **facts)
        )
    landed = landing.land(catalog, root, staged, MERGE)
    assert landed is not None
    return publication.publish(catalog, root, landed, MERGE, lambda branch: None).to_json()


def content(catalog: Catalog) -> dict[int, str]:
    rows = catalog.load_table(TABLE).scan().to_arrow()
    return dict(zip(rows["k"].to_pylist(), rows["v"].to_pylist(), strict=True))


def as_dict(rows: pa.Table) -> dict[int, str]:
    return dict(zip(rows["k"].to_pylist(), rows["v"].to_pylist(), strict=True))


def leave(folder: Path, room: int) -> Path:
    """Fill the disk but for ``room`` bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * PAGE)
    os.truncate(filler, max(filler.stat().st_size - room, 0))
    return filler


def message_of(catalog: Catalog, root: Path, token: str, rows: pa.Table) -> str | None:
    """Return what a run says that fails for want of room, None for one that finds it."""
    try:
        run(catalog, root, token, rows)
    except TransientError as error:
        return str(error)
    return None


def test_data_files_that_do_not_fit(catalog: Catalog, small_disk: Path, tmp_path: Path) -> None:
    first, large = noise(range(10), 50), noise(range(5, 30_000), 100)
    run(catalog, tmp_path, "first", first)
    filler = leave(small_disk, 1024 * KIB)
    with pytest.raises(TransientError, match=r"No space left while writing .* free some .* a retry writes it again"):
        run(catalog, tmp_path, "large", large)
    assert content(catalog) == as_dict(first)
    assert set(catalog.load_table(TABLE).refs()) == {"main"}
    # what was written of it is gone, so that there is room for somebody else
    second = noise(range(100, 110), 50)
    run(catalog, tmp_path, "second", second)
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    run(catalog, tmp_path, "large", large)
    assert content(catalog) == {**as_dict(first), **as_dict(second), **as_dict(large)}


def test_whatever_room_is_left(catalog: Catalog, small_disk: Path, tmp_path: Path) -> None:
    """Data file, manifest, manifest list or metadata: each is the first that does not fit at some amount of room."""
    model = as_dict(noise(range(1), 50))
    run(catalog, tmp_path, "first", pa.table({"k": list(model), "v": list(model.values())}))
    outcomes = []
    for pages in ROOM:
        rows = noise(range(pages, pages + 7), 50)
        filler = leave(small_disk, pages * PAGE)
        outcomes.append(message_of(catalog, tmp_path, f"run{pages}", rows))
        if outcomes[-1]:
            assert content(catalog) == model
        filler.unlink()
        run(catalog, tmp_path, f"run{pages}", rows)
        model |= as_dict(rows)
        assert content(catalog) == model
    assert outcomes[0] is not None
    assert outcomes[-1] is None
    assert [each for each in outcomes if each and not re.search("No space left .* free some", each)] == []


def test_a_dbt_model_that_does_not_fit(small_disk: Path, tmp_path: Path) -> None:
    project, home = tmp_path / "shop", tmp_path / "home"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (project / "models" / "grown.sql").write_text(
        "{{ config(materialized='incremental', unique_key='k') }} select k, "
        "sha256(k || '{{ env_var('SALT', '') }}') as v, sha256(v) as w "
        "from range({{ env_var('ROWS', '9') }}) as keys(k)"
    )
    properties = {**embedded_properties(tmp_path), "warehouse": f"file://{small_disk}"}

    def build(token: str, rows: int) -> int | None:
        environment = {"PHLO_RUN_TOKEN": token, "PHLO_CATALOG_PROPERTIES": json.dumps(properties)}
        environment |= {"SALT": token, "ROWS": str(rows)}
        return build_model(project, "model.shop.grown", home=home, environment=environment).rows

    def rows() -> list[dict[str, Any]]:
        with closing(open_catalog("phlo", properties)) as opened:
            return opened.load_table("shop.grown").scan().to_arrow().sort_by("k").to_pylist()

    assert build("first", 10) == 10
    before = rows()
    filler = leave(small_disk, 1024 * KIB)
    for attempt in ("large", "large"):
        with pytest.raises(TransientError, match=r"No space left while writing .* free some"):
            build(attempt, 30_000)
        assert rows() == before
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    assert build("large", 30_000) == len(rows()) == 30_000


def test_a_batch_of_a_stage_is_there_whole_or_not_at_all(small_disk: Path) -> None:
    stage = Stage(small_disk / "stage", "shop")

    def write() -> None:
        with stage.writer("octo-org", DAY, "token") as writer:
            for part in range(4):
                writer.write("rows", noise(range(part * 10, part * 10 + 10), 8 * KIB))

    (small_disk / "ballast").write_bytes(bytes(1900 * KIB))
    with pytest.raises(TransientError, match=r"No space left .*\[phlo\] stage_path elsewhere"):
        write()
    assert stage.batches() == []
    assert [path for path in stage.root.rglob("*") if path.is_file()] == []
    (small_disk / "ballast").unlink()
    write()
    assert [batch.rows("rows") for batch in stage.batches()] == [40]
