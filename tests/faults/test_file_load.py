"""
The file loader under kill -9 at every step, beside another loader, on a full disk, and over random sequences of files,
changes and kills: nothing is lost, nothing is there twice, each file is loaded whole or not at all.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_phlo.events import published
from airflow_provider_phlo.events.loading import load_and_publish, load_events
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.files import loading
from airflow_provider_phlo.files.staging import Staging
from tests.faults.killing import PROCESSES, Wrapper, die_after, dying_after, dying_before, exit_code, length_of
from tests.patience import PATIENCE
from tests.sizes import size
from tests.unit.files.conftest import event, text

FILES = 6
LINES = 4

# where: the module or class, the function that is wrapped, how, and at which call
POINTS: dict[str, tuple[Any, str, Wrapper, int]] = {
    "before the tables are there": (loading._Load, "__init__", dying_before, 1),
    "tables made": (loading._Load, "__init__", dying_after, 1),
    "a file read": (loading, "read", dying_after, 2),
    "staged": (Staging, "stage_files", dying_after, 1),
    "a transaction begun": (Staging, "insert", dying_before, 2),
    "rows inserted": (Staging, "insert", dying_after, 3),
    "file recorded, not committed": (loading._Load, "_record", dying_after, 4),
    "committed": (loading._Load, "_next_moment", dying_before, 3),
    "a bad file's lines are judged": (Staging, "stage_chunk", dying_after, 1),
    "all files loaded, nothing published": (published, "publish", dying_before, 1),
    "published": (published, "publish", dying_after, 1),
}


def fill(folder: Path) -> dict[str, str]:
    """Write files, the last of which has a bad line; return the events that there are."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, str] = {}
    for number in range(FILES):
        events = [event(number * (LINES - 1) + line, type=f"{number}Event") for line in range(LINES)]
        bad = ["{"] if number == FILES - 1 else []
        (folder / f"{number}.jsonl").write_bytes(text(*events, *bad))
        for one in events:
            expected.setdefault(one["id"], one["type"])
    return expected


def child(home: Path, point: str | None, seconds: float | None) -> None:
    if point is not None:
        owner, name, wrapper, calls = POINTS[point]
        setattr(owner, name, wrapper(calls, getattr(owner, name)))
        from airflow_provider_phlo.events import loading as events_loading

        events_loading.publish = published.publish
    if seconds is not None:
        die_after(seconds)
    load_and_publish(home / "raw", home / "events.duckdb")


def query(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(home / "events.duckdb") as connection:
        return connection.execute(sql).fetchall()


def check_end(home: Path, expected: dict[str, str]) -> None:
    assert dict(query(home, "SELECT event_id, event_type FROM events")) == expected
    assert query(home, "SELECT count(*), count(DISTINCT file_sha256) FROM loaded_files") == [(FILES, FILES)]
    assert query(home, "SELECT line_number, raw FROM rejected_lines") == [(LINES + 1, "{")]
    manifest = published.read_manifest(home / "events.published")
    assert manifest is not None
    assert manifest.events == len(expected)


def check_whole_files(home: Path) -> None:
    """Every file that is there is there with all the lines that no file before it had, and the files are the first."""
    try:
        found = query(home, "SELECT source_file, count(*) FROM events GROUP BY ALL ORDER BY 1")
    except duckdb.CatalogException:  # no tables yet
        return
    assert [(Path(name).name, count) for name, count in found] == [
        (f"{number}.jsonl", LINES if number == 0 else LINES - 1) for number in range(len(found))
    ]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_step(tmp_path: Path, point: str) -> None:
    expected = fill(tmp_path / "raw")
    assert exit_code(child, tmp_path, point, None) == -signal.SIGKILL
    check_whole_files(tmp_path)
    assert exit_code(child, tmp_path, None, None) == 0
    check_end(tmp_path, expected)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    length = length_of(lambda home: exit_code(child, _filled(home), None, None), tmp_path / "elsewhere")
    chance, codes = random.Random(3), []
    for number in range(size(6, 500)):
        home = tmp_path / str(number)
        expected = fill(home / "raw")
        codes.append(exit_code(child, home, None, chance.uniform(0.05, 0.95) * length))
        check_whole_files(home)
        assert exit_code(child, home, None, None) == 0
        check_end(home, expected)
    assert set(codes) <= {0, -signal.SIGKILL}
    assert -signal.SIGKILL in codes


def _filled(home: Path) -> Path:
    fill(home / "raw")
    return home


def test_two_loaders_at_once(tmp_path: Path) -> None:
    expected = fill(tmp_path / "raw")
    both = [PROCESSES.Process(target=child, args=(tmp_path, None, None)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
    assert [process.exitcode for process in both] == [0, 0]
    check_end(tmp_path, expected)


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_the_disk_is_full_in_the_middle_of_a_load(tmp_path: Path, small_disk: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(40):
        lines = [event(f"{number:02d}{line}", payload={"noise": os.urandom(30_000).hex()}) for line in range(5)]
        (raw / f"{number:02d}.jsonl").write_bytes(text(*lines))
    database = small_disk / "events.duckdb"
    for _ in range(2):
        with pytest.raises(TransientError, match="No space left on device"):
            load_events(raw, database)
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    result = load_events(raw, database)
    assert result.scanned_files == 40
    assert result.loaded_files + result.skipped_files == 40
    with duckdb.connect(database, read_only=True) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT event_id) FROM events").fetchall()
        whole = connection.execute("SELECT count(*) FROM events GROUP BY source_file HAVING count(*) <> 5").fetchall()
    assert (found, whole) == ([(200, 200)], [])


# --- random sequences, against a model


class Model:
    """What the loader promises, in plain Python: files in the order of their names, the first of an id stays."""

    def __init__(self) -> None:
        self.events: dict[str, tuple[str, str]] = {}
        self.hashes: set[str] = set()
        self.versions: dict[str, str] = {}
        self.rejected = 0

    def new_files(self, folder: Path) -> list[Path]:
        new, hashes = [], set(self.hashes)
        for path in sorted(folder.iterdir()):
            digest = sha256(path.read_bytes()).hexdigest()
            if digest not in hashes:
                new.append(path)
                hashes.add(digest)
        return new

    def load(self, path: Path) -> None:
        content = path.read_bytes()
        self.hashes.add(sha256(content).hexdigest())
        self.versions[str(path)] = sha256(content).hexdigest()
        for line in content.splitlines():
            try:
                document = json.loads(line)
                self.events.setdefault(document["id"], (document["type"], str(path)))
            except (ValueError, KeyError):
                self.rejected += 1


def killed_load(home: Path, call: int, after: bool) -> None:
    wrapper = dying_after if after else dying_before
    name, owner = ("_record", loading._Load) if after else ("_next_moment", loading._Load)
    setattr(owner, name, wrapper(call, getattr(owner, name)))
    load_events(home / "raw", home / "events.duckdb", verify=True)


def random_content(chance: random.Random) -> bytes:
    lines: list[Any] = [
        event(chance.randrange(40), type=f"{chance.randrange(1000)}Event") for _ in range(chance.randrange(6))
    ]
    if chance.random() < 0.4:
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(["{", '{"type": "no id"}', "]", "nothing"]))
    return text(*lines) if chance.random() < 0.8 else text(*lines)[:-1]


def check_model(home: Path, model: Model) -> None:
    rows = query(home, "SELECT event_id, event_type, source_file FROM events")
    assert {key: (kind, source) for key, kind, source in rows} == model.events
    assert len(rows) == len(model.events)
    assert dict(query(home, "SELECT file_path, file_sha256 FROM loaded_files")) == model.versions
    assert query(home, "SELECT count(*) FROM rejected_lines") == [(model.rejected,)]


@pytest.mark.parametrize("seed", range(size(6, 2000)))
def test_random_sequences_of_files_changes_and_kills(tmp_path: Path, seed: int) -> None:
    chance, model, raw = random.Random(seed), Model(), tmp_path / "raw"
    raw.mkdir()
    load_events(raw, tmp_path / "events.duckdb")
    for _ in range(12):
        path = raw / f"{chance.randrange(8)}.jsonl"
        action = chance.choice(("write", "write", "write", "copy", "remove", "load", "load", "kill"))
        if action == "write":
            path.write_bytes(random_content(chance))
        elif action == "copy" and path.exists():
            (raw / f"{chance.randrange(8)}.jsonl").write_bytes(path.read_bytes())
        elif action == "remove":
            path.unlink(missing_ok=True)
        elif action == "kill":
            code = exit_code(killed_load, tmp_path, chance.randint(1, 4), chance.random() < 0.5)
            # a prefix of what was new is there
            new = model.new_files(raw)
            known = {digest for (digest,) in query(tmp_path, "SELECT file_sha256 FROM loaded_files")}
            loaded = [one for one in new if sha256(one.read_bytes()).hexdigest() in known]
            assert loaded == new[: len(loaded)]
            assert code in (0, -signal.SIGKILL)
            for one in loaded:
                model.load(one)
            check_model(tmp_path, model)
        elif action == "load":
            new, before, rejected = model.new_files(raw), len(model.events), model.rejected
            for one in new:
                model.load(one)
            result = load_events(raw, tmp_path / "events.duckdb", verify=True)
            assert (result.loaded_files, result.inserted_events) == (len(new), len(model.events) - before)
            assert result.scanned_files == result.loaded_files + result.skipped_files == len(list(raw.iterdir()))
            assert result.rejected_lines == model.rejected - rejected
            check_model(tmp_path, model)


def test_readers_see_what_a_killed_load_had_published(tmp_path: Path) -> None:
    fill(tmp_path / "raw")
    assert exit_code(child, tmp_path, None, None) == 0
    (tmp_path / "raw" / "z.jsonl").write_bytes(text(event("new")))
    assert exit_code(child, tmp_path, "all files loaded, nothing published", None) == -signal.SIGKILL
    manifest = published.read_manifest(tmp_path / "events.published")
    assert manifest is not None
    before = manifest.events
    assert exit_code(child, tmp_path, None, None) == 0
    manifest = published.read_manifest(tmp_path / "events.published")
    assert manifest is not None
    assert manifest.events == before + 1
