from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.supervising.code_changes import (
    PACKAGE,
    Changes,
    CodeWatcher,
    Effect,
    Reloading,
    describe_changes,
    effect_of,
    watched_folders,
)
from tests.patience import PATIENCE

DAG = "from airflow.sdk import dag\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "phlo.yaml": "",
        "dags/daily.py": DAG,
        "dags/helpers.py": "x = 1\n",
        "include/rules.py": "x = 1\n",
        "include/dbt/dbt_project.yml": "name: shop\n",
        "include/dbt/models/m.sql": "select 1\n",
        "plugins/ours.py": "",
        "shop/__init__.py": "",
        "docs/conf.py": "",
        "tests/__init__.py": "",
        ".phlo/dags/x.py": "",
        ".venv/pyvenv.cfg": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "effect"),
    [
        ("dags/daily.py", Effect.NONE),
        ("dags/gone.py", Effect.NONE),
        ("dags/helpers.py", Effect.PARSING),
        ("include/rules.py", Effect.PARSING),
        ("include/rules.txt", Effect.NONE),
        ("include/__pycache__/rules.cpython-312.py", Effect.NONE),
        ("include/.rules.py.swp", Effect.NONE),
        ("include/dbt/models/m.sql", Effect.MODELS),
        ("include/dbt/models/python.py", Effect.MODELS),
        ("include/dbt/target/manifest.json", Effect.NONE),
        ("include/dbt/target/compiled/m.sql", Effect.NONE),
        ("plugins/ours.py", Effect.ALL),
        ("shop/__init__.py", Effect.PARSING),
        ("phlo.yaml", Effect.SETTINGS),
        (str(PACKAGE / "sql.py"), Effect.ALL),
        (str(PACKAGE / "py.typed"), Effect.NONE),
    ],
)
def test_who_has_a_file_loaded(root: Path, path: str, effect: Effect) -> None:
    assert effect_of(root, root / path) is effect


def test_what_is_watched(root: Path) -> None:
    expected = [root / name for name in ("dags", "include", "plugins", "shop", "phlo.yaml")]
    assert watched_folders(root) == [*expected, PACKAGE]


def test_many_files_are_one_change(root: Path) -> None:
    paths = [root / "include" / f"{number}.py" for number in range(5)]
    changes = describe_changes(root, [*paths, root / "include/dbt/models/m.sql"])
    words = "include/0.py, include/1.py, include/2.py and 3 more"
    assert changes == Changes(frozenset({"dag-processor", "triggerer"}), models=True, settings=False, words=words)


class Reloaded:
    """What a real watcher of a project led to."""

    def __init__(self, root: Path, parse: Callable[[], bool]) -> None:
        self.renewed: list[str] = []
        self.said: list[str] = []
        self.reloading = Reloading(CodeWatcher(root), parse, self.renewed.append, self.said.append)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (self.renewed, self.said)
            self.reloading.look()
            time.sleep(0.05)


def test_changes_are_picked_up(root: Path) -> None:
    parsed: list[str] = []

    def parse() -> bool:
        parsed.append((root / "include/dbt/models/m.sql").read_text())
        if parsed[-1].startswith("bad"):
            raise ConfigurationError("dbt cannot parse the project")
        return True

    one = Reloaded(root, parse)
    probe = root / "shop" / "__init__.py"
    while not one.said:  # the watcher has begun
        probe.write_text(f"now = {time.monotonic()}\n")
        time.sleep(0.1)
        one.reloading.look()
    time.sleep(0.5)
    one.until(lambda: one.renewed != [])
    assert set(one.renewed) == {"dag-processor", "triggerer"}

    one.renewed.clear()
    (root / "include/dbt/models/m.sql").write_text("bad\n")
    one.until(lambda: one.said[-1] == "dbt cannot parse the project")
    (root / "dags/daily.py").write_text(DAG + "\n")
    (root / "include/dbt/models/m.sql").write_text("select 2\n")
    one.until(lambda: "dbt has parsed the models" in one.said)
    one.until(lambda: "dag-processor" in one.renewed)
    assert parsed == ["bad\n", "select 2\n"]
    assert "changed: include/dbt/models/m.sql" in one.said
    assert not [line for line in one.said if "daily" in line]
    (root / "phlo.yaml").write_text("name: shop\n")
    one.until(lambda: one.said[-1].endswith("phlo services restart --dev"))


def test_a_watcher_that_cannot_go_on_says_so_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(root: Path) -> list[Path]:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("airflow_provider_phlo.services.supervising.code_changes.watched_folders", full)
    said: list[str] = []
    reloading = Reloading(CodeWatcher(root), lambda: False, lambda name: None, said.append)
    deadline = time.monotonic() + PATIENCE
    while not said:
        assert time.monotonic() < deadline
        reloading.look()
        time.sleep(0.05)
    reloading.look()
    assert len(said) == 1
    assert said[0].startswith("code is not watched any more: ")
    assert "phlo services restart --dev" in said[0]
