"""PyIceberg's own tests of ``upsert``, from its source distribution, with our merge in its place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.services import programs

PAGE = Path(__file__).parents[2] / "docs" / "merge.md"
# what our merge says or does where theirs expects something else, by the test; docs/merge.md has the reasons
DIFFERENT = {
    "test_merge_rows[join_cols2-501-1500-1-1000-True-False-500-0]": "rows inserted should be 0, but got 500",
    "test_merge_rows[join_cols3-501-1500-1-1000-False-True-0-500]": "rows updated should be 0, but got 500",
    "test_merge_source_dups": "share their key with another of the batch, and deduplication is off",
    "test_key_cols_misaligned": "has no column.s. item_id",
    "test_upsert_with_identifier_fields": "Right contains 2 more items, first extra item: Operation.APPEND",
    "test_upsert_with_duplicate_rows_in_table": "DID NOT RAISE",
    "test_upsert_without_identifier_fields": "merge_strategy='merge' needs a unique_key",
    "test_upsert_with_struct_field_as_join_key": "share their key with another of the batch",
    "test_upsert_with_nulls": "assert pyarrow.Table",
}
PASSED = 14


@pytest.mark.timeout(300)
def test_upsert_as_pyiceberg_tests_it(tmp_path: Path) -> None:
    source = programs.pyiceberg_source()
    shutil.copy(Path(__file__).parent / "upsert_by_merge.py", tmp_path)
    path = os.pathsep.join([str(tmp_path), str(programs.datafusion())])
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "upsert_by_merge", "--noconftest", "-c", os.devnull),
            *("--rootdir", ".", "--junitxml", str(report), "tests/table/test_upsert.py"),
        ],
        cwd=source,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    cases = {case.get("name"): case.find("failure") for case in ElementTree.parse(report).iter("testcase")}
    failed = {name: each for name, each in cases.items() if each is not None}
    assert failed.keys() == DIFFERENT.keys(), done.stdout
    for name, said in DIFFERENT.items():
        assert re.search(said, failed[name].text or ""), name
    assert len(cases) - len(failed) == PASSED


def test_every_difference_is_documented() -> None:
    section = PAGE.read_text().partition("## Beside PyIceberg's `upsert`")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`(test_\w+)`", section))
    assert documented == {name.partition("[")[0] for name in DIFFERENT}
