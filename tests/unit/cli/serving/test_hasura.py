"""``phlo api hasura`` for the example marts, and a server that speaks Hasura's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hasura_server import Hasura, Running

# one worker compiles the project
pytestmark = pytest.mark.xdist_group("served")

ROOT = Path(__file__).parents[4]
FILE = ROOT / "include" / "api" / "hasura-metadata.yaml"


@pytest.fixture
def phlo(parsed: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any) -> Any:
    monkeypatch.setenv("PHLO_HOME", str(parsed))
    monkeypatch.chdir(ROOT)
    return lambda *arguments: run_phlo("api", "hasura", *arguments)


@pytest.fixture
def hasura() -> Hasura:
    tables = yaml.safe_load(FILE.read_text())["sources"][0]["tables"]
    return Hasura(
        {f"api.{each['table']['name']}": set(each["select_permissions"][0]["permission"]["columns"]) for each in tables}
    )


@pytest.fixture
def running(hasura: Hasura) -> Iterator[Running]:
    running = Running(hasura)
    yield running
    running.stop()


def test_the_committed_file_is_that_of_the_models(phlo: Any, tmp_path: Path) -> None:
    assert phlo("export", "--check") == (0, "include/api/hasura-metadata.yaml: as the 11 models say.\n", "")
    code, out, _ = phlo("export", "--folder", str(tmp_path))
    assert (code, out) == (0, f"{tmp_path}/hasura-metadata.yaml: 11 views.\n")
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()
    (tmp_path / FILE.name).write_text("version: 2")
    code, _, err = phlo("export", "--check", "--folder", str(tmp_path))
    assert (code, "is not what the models say" in err) == (1, True)


@pytest.mark.parametrize("by", ["environment", "connection"])
def test_track_and_diff(phlo: Any, running: Running, hasura: Hasura, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    if by == "environment":
        monkeypatch.setenv("HASURA_GRAPHQL_ENDPOINT", running.url)
        monkeypatch.setenv("HASURA_GRAPHQL_ADMIN_SECRET", "geheim")
    else:
        connection = {"conn_type": "http", "host": running.url, "password": "geheim"}
        monkeypatch.setenv("AIRFLOW_CONN_HASURA_DEFAULT", json.dumps(connection))
    code, out, _ = phlo("diff", "--output", "json")
    assert (code, len(json.loads(out)), hasura.version) == (1, 11, 1)
    code, out, err = phlo("track")
    assert (code, out.splitlines()[-1], err) == (0, "Done.", "")
    assert hasura.metadata == yaml.safe_load(FILE.read_text())
    assert phlo("track") == (0, "Nothing was changed: the server has what the models say.\n", "")
    assert phlo("diff") == (0, "Nothing differs: the server has what the models say.\n", "")
    assert hasura.version == 2


def test_a_wrong_secret(phlo: Any, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASURA_GRAPHQL_ENDPOINT", running.url)
    monkeypatch.setenv("HASURA_GRAPHQL_ADMIN_SECRET", "falsch")
    code, _, err = phlo("track")
    assert (code, "does not accept the admin secret" in err, "falsch" in err) == (2, True, False)


def test_no_server_is_named(phlo: Any) -> None:
    code, _, err = phlo("track")
    assert (code, "Where Hasura answers is not known: set HASURA_GRAPHQL_ENDPOINT" in err) == (2, True)
