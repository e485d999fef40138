"""A batch larger than memory: what a merge needs of it does not grow with the size of its rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.row_hash import row_hashes
from tests.faults.killing import PROCESSES, CatalogSettings
from tests.patience import PATIENCE
from tests.sizes import size

TABLE, DAY = "raw.t", "2024-01-15"
MIB = 1024 * 1024
FILES = size(24, 160)
ROWS_A_FILE, TEXT = 32 * 1024, 2048
BATCH_MIB = FILES * ROWS_A_FILE * TEXT // MIB
# measured: 500 to 860
PEAK_MIB = 1000


def parts(version: int, hashed: bool) -> Iterator[pa.Table]:
    """
    Yield 64 MiB a time: long texts that compress well; every second row differs from version to version.

    :param hashed: whether the rows come with their content hashes, as the ingestion stages them.
    """
    texts = pa.array([f"{number:04d}" * (TEXT // 4) for number in range(100)])
    for number in range(FILES):
        keys = pa.array(range(number * ROWS_A_FILE, (number + 1) * ROWS_A_FILE))
        odd = pc.bit_wise_and(keys, 1)
        chosen = pc.subtract(keys, pc.multiply(pc.divide(keys, 50), 50))
        rows = pa.table({"k": keys, "v": pc.multiply(odd, version), "text": texts.take(chosen)})
        yield rows.append_column("_phlo_row_hash", row_hashes(rows)) if hashed else rows


def stage(root: Path, version: int, hashed: bool) -> staged_batches.StagedBatch:
    token = f"v{version}"
    writer = staged_batches.BatchWriter(root, TABLE, DAY, token)
    for part in parts(version, hashed):
        writer.write(part)
    rows = FILES * ROWS_A_FILE
    facts = {"read": rows, "rows": rows}
    return writer.finish(
        staged_batches.StagedBatch(TABLE, token, DAY, token, writer.attempt, tuple(writer.files), **facts)
    )


def memory(name: str) -> int:
    """Return a figure of this process's memory in MiB: ``VmRSS`` is now, ``VmHWM`` the most there was."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) // 1024


def measured(settings: CatalogSettings, root: Path, hashed: bool, answers: Any) -> None:
    """Merge two large batches, one into an empty table, and say how much memory each took over what was there."""
    definition = TableDefinition(TABLE, MergePlan(key=("k",)), metadata_columns=False)
    for version in (1, 2):
        staged = stage(root, version, hashed)
        gc.collect()
        pa.default_memory_pool().release_unused()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the most there was
        before, started = memory("VmRSS"), time.monotonic()
        with settings.open() as catalog:
            landed = landing.land(catalog, root, staged, definition)
            assert landed is not None
            result = publication.publish(catalog, root, landed, definition, lambda branch: None).to_json()
        answers.put((memory("VmHWM") - before, time.monotonic() - started, result))


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not say how much memory it was")
def test_a_batch_larger_than_what_may_be_in_memory(tmp_path: Path, hashed: bool) -> None:
    answers, settings = PROCESSES.Queue(), CatalogSettings("phlo", embedded_properties(tmp_path))
    process = PROCESSES.Process(target=measured, args=(settings, tmp_path / "staging", hashed, answers))
    process.start()
    found = [answers.get(timeout=size(400, 3600)) for _ in range(2)]
    process.join(PATIENCE)
    assert process.exitcode == 0
    for peak, seconds, result in found:
        counts = [result[name] for name in ("inserted", "updated", "unchanged")]
        print(f"{BATCH_MIB} MiB: {peak} MiB over the baseline, {seconds:.1f} s, {counts}")
    rows = FILES * ROWS_A_FILE
    assert [found[0][2][name] for name in ("inserted", "updated", "unchanged")] == [rows, 0, 0]
    assert [found[1][2][name] for name in ("inserted", "updated", "unchanged")] == [0, rows // 2, rows // 2]
    assert max(peak for peak, _, _ in found) < PEAK_MIB
