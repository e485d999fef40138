"""FileLoadOperator: batches of events into DuckDB."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import duckdb
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.events.published import read_manifest
from airflow_provider_phlo.operators.file_load import FileLoadOperator
from tests.unit.files.conftest import event, text


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    for name in ("DATA_DIR", "RAW_DIR", "DUCKDB_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home/events/raw").mkdir(parents=True)
    (tmp_path / "home/events/raw/a.jsonl").write_bytes(text(event(1), event(2)))
    return tmp_path / "home"


def test_loads_from_and_into_the_paths_of_the_environment(home, tmp_path, monkeypatch):
    result = FileLoadOperator(task_id="load").execute({})
    assert json.loads(json.dumps(result)) == result
    assert (result["inserted_events"], result["db_path"]) == (2, str(home / "events/github_events.duckdb"))
    manifest = read_manifest(home / "events/github_events.published")
    assert manifest is not None
    assert manifest.events == 2

    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(AirflowFailException, match=r"does not exist: .*/data/raw"):
        FileLoadOperator(task_id="load").execute({})
    monkeypatch.setenv("RAW_DIR", str(home / "events/raw"))
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "x" / "github_events.duckdb"))
    assert FileLoadOperator(task_id="load").execute({})["db_path"] == str(tmp_path / "x/github_events.duckdb")
    monkeypatch.setenv("RAW_DIR", "raw")
    with pytest.raises(AirflowFailException, match="RAW_DIR is raw: a relative path"):
        FileLoadOperator(task_id="load").execute({})


def test_case_42_a_load_of_nothing_says_why(home):
    operator = FileLoadOperator(task_id="load")
    assert "nothing_to_do" not in operator.execute({})
    assert operator.execute({})["nothing_to_do"] == f"{home}/events/raw: all files were loaded before"
    (home / "events/raw/a.jsonl").unlink()
    assert operator.execute({})["nothing_to_do"] == f"{home}/events/raw: there are no files"
    (home / "events/raw/_SUCCESS").touch()
    said = f"{home}/events/raw: there are no files; 1 of other names are left alone"
    assert operator.execute({})["nothing_to_do"] == said
    (home / "events/raw/part-00000").touch()
    with pytest.raises(AirflowFailException, match=r"Nothing in .*raw has a name that is loaded.*part-00000"):
        operator.execute({})


def test_its_own_paths_win(home, tmp_path):
    path = str(tmp_path / "mine.duckdb")
    operator = FileLoadOperator(task_id="load", folder=str(home / "events/raw"), database=path)
    assert [asset.uri for asset in operator.outlets] == [f"file://{path}"]
    assert operator.execute({})["inserted_events"] == 2
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(2,)]


def test_the_counts_are_known_also_where_a_file_is_broken(home):
    (home / "events/raw/b.jsonl.gz").write_bytes(b"not gzip")
    pushed = {}
    task = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    with pytest.raises(
        AirflowFailException, match=r"(?s)1 of 2 files could not be loaded.*b\.jsonl\.gz: the compressed file"
    ):
        FileLoadOperator(task_id="load").execute({"ti": task})
    assert {**pushed["return_value"], "duration_ms": 0} == {
        **{"scanned_files": 2, "loaded_files": 1, "skipped_files": 0, "inserted_events": 2, "rejected_lines": 0},
        **{"other_files": 0, "duration_ms": 0, "db_path": str(home / "events/github_events.duckdb")},
    }


def test_two_databases_are_not_published_to_one_folder(home, tmp_path):
    """Readers of the one would be served the other."""
    folder, first, second = str(home / "events/raw"), tmp_path / "e.duckdb", tmp_path / "e.db"
    FileLoadOperator(task_id="load", folder=folder, database=str(first)).execute({})
    other = FileLoadOperator(task_id="load", folder=folder, database=str(second))
    with pytest.raises(AirflowFailException, match=r"e\.published has what is published of e\.duckdb"):
        other.execute({})
    assert not second.exists()
    first.rename(second)
    assert other.execute({})["skipped_files"] == 1
    same = FileLoadOperator(task_id="load", folder=folder, database=str(tmp_path / "e.published"))
    with pytest.raises(AirflowFailException, match="has the name of the folder"):
        same.execute({})


def test_verify_compares_what_is_published_too(home):
    FileLoadOperator(task_id="load").execute({})
    database = home / "events/github_events.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute("UPDATE events SET repo_name = 'org/renamed' WHERE event_id = '1'")
    published = home / "events/github_events.published"
    before = read_manifest(published)
    FileLoadOperator(task_id="load").execute({})
    assert read_manifest(published) == before
    FileLoadOperator(task_id="load", verify=True).execute({})
    assert read_manifest(published) != before


REFUSED = {
    "a relative folder": ({"folder": "raw"}, "folder is raw: a relative path"),
    "a relative database": ({"database": "e.duckdb"}, "database is e.duckdb: a relative path"),
    "a URL": ({"database": "duckdb:///tmp/e.duckdb"}, "database is duckdb:///tmp/e.duckdb: a relative path"),
    "a word": ({"verify": "maybe"}, "verify is 'maybe': give true or false"),
    "not a time": ({"wait_seconds": float("nan")}, "To wait nan seconds"),
    "a database among the files": ({"database": "RAW/e.duckdb"}, "lies in the folder of files to load"),
    "the same by a URL": ({"folder": "file://RAW", "database": "RAW/e.duckdb"}, "lies in the folder of files to load"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(home, tmp_path, monkeypatch, kind):
    """A relative path is another one on each worker; what is published would be loaded as events."""
    monkeypatch.chdir(tmp_path)
    arguments, reason = REFUSED[kind]
    raw = str(home / "events/raw")
    given = {name: value.replace("RAW", raw) if isinstance(value, str) else value for name, value in arguments.items()}
    with pytest.raises(AirflowFailException, match=re.escape(reason)):
        FileLoadOperator(task_id="load", **given).execute({})
    assert {str(path.relative_to(home)) for path in home.rglob("*")} == {"events", "events/raw", "events/raw/a.jsonl"}
    assert list(tmp_path.iterdir()) == [home]


@pytest.mark.parametrize("word", ["", "False", "none", False, "TRUE", " yes", 1])
def test_verify_may_be_a_template(word):
    assert FileLoadOperator(task_id="load", verify=word).execute({})["inserted_events"] == 2
