"""A dashboard that somebody has edited in Superset is never overwritten silently."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from airflow_provider_phlo.serving.superset.assets import read_archive
from tests.bi.commands import phlo
from tests.bi.marts import Marts
from tests.bi.superset import ROOT, RunningSuperset

FOLDER = ROOT / "include" / "superset"
CHART, TITLE = "charts/glucose_mean.yaml", "Mean of the sensor"


@pytest.fixture
def edited(superset: RunningSuperset, marts: Marts) -> RunningSuperset:
    """Return a Superset in which somebody has renamed a chart and published a dashboard no longer."""
    assert phlo(superset, marts, "import", "--overwrite").code == 0
    superset.edit("chart", superset.numbers("chart", "slice_name")["Mean glucose"], slice_name=TITLE)
    superset.edit("dashboard", superset.numbers("dashboard", "dashboard_title")["GitHub activity"], published=False)
    return superset


def test_what_a_folder_has_imports_once(superset: RunningSuperset, marts: Marts) -> None:
    assert phlo(superset, marts, "import", "--overwrite").code == 0
    again = phlo(superset, marts, "import")
    assert again.code == 0
    assert "created" not in again.out
    assert phlo(superset, marts, "diff").code == 0


def test_an_edit_is_not_overwritten(edited: RunningSuperset, marts: Marts) -> None:
    refused = phlo(edited, marts, "import")
    assert refused.code == 2
    assert "2 of these" in refused.err
    assert "chart 'Mean glucose' in slice_name; dashboard 'GitHub activity' in published" in refused.err
    assert phlo(edited, marts, "diff").code == 1
    assert TITLE in edited.numbers("chart", "slice_name")


def test_what_is_new_is_imported_beside_what_is_kept(edited: RunningSuperset, marts: Marts, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "superset")
    content = yaml.safe_load((folder / CHART).read_text())
    new = content | {"slice_name": "Another", "uuid": "11111111-2222-3333-4444-555555555555"}
    (folder / "charts" / "another.yaml").write_text(yaml.safe_dump(new))
    done = phlo(edited, marts, "import", "--keep", folder=folder)
    assert done.code == 0, done.err
    assert done.out.count("kept as edited") == 2
    assert done.out.count("created") == 1
    assert {"Another", TITLE} <= edited.numbers("chart", "slice_name").keys()


def test_an_edit_comes_into_the_files(edited: RunningSuperset, marts: Marts, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "superset")
    before = {path: path.read_text() for path in folder.rglob("*.yaml")}
    assert phlo(edited, marts, "export", folder=folder).code == 0
    changed = {str(path.relative_to(folder)) for path, text in before.items() if path.read_text() != text}
    assert changed == {CHART, "dashboards/github.yaml"}
    assert yaml.safe_load((folder / CHART).read_text())["slice_name"] == TITLE
    assert set(folder.rglob("*.yaml")) == before.keys()
    assert marts.password not in "".join(path.read_text() for path in folder.rglob("*.yaml"))
    assert phlo(edited, marts, "import", folder=folder).code == 0


def test_files_replace_an_edit_on_request_and_a_copy_is_kept(edited: RunningSuperset, marts: Marts, home: Path) -> None:
    known = set((home / "superset").glob("*.zip"))
    done = phlo(edited, marts, "import", "--overwrite")
    assert done.code == 0, done.err
    [copy] = set((home / "superset").glob("*.zip")) - known
    assert str(copy) in done.out
    assert copy.stat().st_mode & 0o077 == 0
    assert TITLE in {asset.name for asset in read_archive(copy.read_bytes()).values()}
    assert TITLE not in edited.numbers("chart", "slice_name")
    assert phlo(edited, marts, "diff").code == 0


def test_a_dashboard_made_in_superset_becomes_files(superset: RunningSuperset, marts: Marts, tmp_path: Path) -> None:
    assert phlo(superset, marts, "import", "--overwrite").code == 0
    done = phlo(superset, marts, "export", "--dashboard", "github-activity", folder=tmp_path / "new")
    assert done.code == 0, done.err
    written = {path.parent.name for path in (tmp_path / "new").rglob("*.yaml")}
    assert written == {"databases", "datasets", "charts", "dashboards"}
    # the same as the files that it was made of
    assert phlo(superset, marts, "import", folder=tmp_path / "new").code == 0
