from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lake import open_lake
from tests.patience import PATIENCE
from tests.real_airflow import migrated_database

PROGRAM = """
import sys
from airflow_provider_phlo.cli.main import main
try:
    main(["query", "SELECT 42 AS answer", "--output", "csv"])
finally:
    print([name for name in ("airflow", "dbt", "dlt", "pandera") if name in sys.modules], file=sys.stderr)
"""


def test_a_query_of_the_embedded_catalog_imports_no_airflow(tmp_path: Path) -> None:
    open_lake(tmp_path / "home")
    (tmp_path / "home" / "airflow").mkdir()
    shutil.copyfile(migrated_database(), tmp_path / "home" / "airflow" / "airflow.db")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**environment, "PHLO_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.stdout.splitlines() == ["answer", "42"], done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
