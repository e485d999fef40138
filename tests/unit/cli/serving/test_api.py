"""``phlo api generate-views`` for the example marts: the files that are committed, and a real database."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_phlo.publishing.postgres import publish
from airflow_provider_phlo.services.postgres.server import PostgresServer
from airflow_provider_phlo.serving.postgrest.readme import _NUMBER, _TIME
from tests.unit.serving.postgrest_requests import Api

# one worker starts the server
pytestmark = pytest.mark.xdist_group("served")

ROOT = Path(__file__).parents[4]
FILES = ROOT / "include" / "api"


@pytest.fixture
def phlo(parsed: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any, server: PostgresServer) -> Any:
    monkeypatch.setenv("PHLO_HOME", str(parsed))
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", server.uri)
    monkeypatch.chdir(ROOT)
    return lambda *arguments: run_phlo("api", "generate-views", *arguments)


@pytest.fixture
def published(connection: psycopg.Connection, phlo: Any) -> psycopg.Connection:
    """Publish the two marts of glucose, and those of GitHub."""
    for name, columns in tables_of(FILES / "README.md").items():
        if "public" not in name and "pull" not in name:
            publish(pa.table({column: values(kind) for column, kind in columns.items()}), connection, name)
    return connection


def tables_of(readme: Path) -> dict[str, dict[str, str]]:
    """Return the columns of the marts, as the README lists them."""
    found: dict[str, dict[str, str]] = {}
    for line in readme.read_text().splitlines():
        if mart := re.match(r"From `marts\.(\w+)`", line):
            columns = found.setdefault(mart[1], {})
        elif row := re.match(r"\| `(\w+)` \| ([^|]*) \|", line):
            columns[row[1]] = row[2].strip()
    return found


def values(kind: str) -> pa.Array:
    if _NUMBER.fullmatch(kind):
        return pa.array([1, 2])
    if _TIME.fullmatch(kind):
        return pa.array([dt.date(2024, 1, 15), dt.date(2024, 1, 16)])
    return pa.array(["a", "b"])


@pytest.mark.long
def test_the_committed_files_are_those_of_the_models(phlo: Any, tmp_path: Path) -> None:
    code, out, err = phlo("--check")
    assert (code, err) == (0, "")
    assert out == "include/api/views.sql, include/api/README.md: as the 11 models say.\n"
    assert phlo("--folder", str(tmp_path))[0] == 0
    for name in ("views.sql", "README.md"):
        assert (tmp_path / name).read_bytes() == (FILES / name).read_bytes()
    views = (FILES / "views.sql").read_text()
    assert 'VIEW "api"."glucose_overview"' in views
    assert 'VIEW "api"."hourly_patterns"' in views


def test_files_that_differ_fail_in_ci(phlo: Any, tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path))
    code, _, err = phlo("--check", *folder)
    assert (code, err.count("is not there: generate it")) == (1, 2)
    phlo(*folder)
    text = (tmp_path / "views.sql").read_text()
    (tmp_path / "views.sql").write_text(text.replace("'One row per day for dashboards.'", "'edited'"))
    code, _, err = phlo("--check", *folder)
    assert code == 1
    assert "views.sql is not what the models say" in err
    assert '-COMMENT ON VIEW "api"."github_activity" IS \'edited\';' in err
    assert phlo("--check", *folder, "--models", "mrt_glucose*")[0] == 1  # other models, another file
    phlo(*folder, "--project", "include/dbt")
    for spelling in ("./include/dbt/", str(ROOT / "include" / "dbt")):
        assert phlo("--check", *folder, "--project", spelling)[0] == 0


def test_every_request_of_the_readme_is_answered(published: psycopg.Connection, phlo: Any, api: Api) -> None:
    code, out, err = phlo("--apply", "--output", "json")
    assert code == 0
    done = {row["view"]: row["action"] for row in json.loads(out)}
    assert done["api.hourly_patterns"] == done["api.glucose_overview"] == "created"
    assert done["api.public_top_repos"] == "not published"
    assert "not published yet, and so without a view: marts.mrt_public_active_users" in err
    code, out, _ = phlo("--apply")
    assert (code, out.splitlines()[-1]) == (0, "Nothing was changed: the database is as the models say.")
    requests = re.findall(r'curl "\$API(/[^/"][^"]*)"', (FILES / "README.md").read_text())
    asked = [path for path in requests if done[f"api.{path[1:].partition('?')[0]}"] == "created"]
    assert len(asked) >= 16
    for path in asked:
        assert api.get(path) or "offset=10" in path, path
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.get(path, role="api_anon")


def test_the_password_is_in_one_private_file(published: psycopg.Connection, phlo: Any, tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "postgrest.env"
    code, out, err = phlo("--apply", "--login", str(path))
    assert code == 0
    uri = path.read_text().removeprefix("PGRST_DB_URI=").strip()
    password = uri.partition("authenticator:")[2].partition("@")[0]
    assert path.stat().st_mode & 0o777 == 0o600
    assert password not in out + err + (FILES / "views.sql").read_text()
    with psycopg.connect(uri) as session:
        assert session.execute("SELECT current_user").fetchone() == ("authenticator",)
    published.execute("DROP SCHEMA api CASCADE")
    code, _, err = phlo("--apply", "--login", str(path))
    assert (code, "is there already, and is not replaced" in err) == (2, True)
    assert published.execute("SELECT to_regnamespace('api')").fetchone() == (None,)  # looked at first


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--check", "--apply"], "--check changes nothing"),
        (["--prune"], "add --apply"),
        (["--schema", "marts"], "PostgREST would serve the marts themselves"),
        (["--withdraw"], "name the models"),
        (["--withdraw", "--apply", "--models", "x"], "leave out --apply and --check"),
        (["--models", "nothing*"], "No model is called nothing*"),
        (["--project", "docs"], "docs is not a dbt project"),
        (["--schema", ""], "--schema is not possible"),
        (["--folder", "README.md"], "README.md/views.sql cannot be written"),
        (["--apply", "--conn-id", "nowhere"], "Connection 'nowhere' is not set"),
    ],
)
def test_what_makes_no_sense_is_refused(phlo: Any, arguments: list[str], reason: str) -> None:
    code, _, err = phlo(*arguments)
    assert code == 2
    assert reason in err


def test_a_server_that_does_not_answer(phlo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", "postgresql://phlo:geheim@127.0.0.1:1/phlo")
    code, _, err = phlo("--apply", "--folder", str(tmp_path))
    assert (code, "The database of postgres_default cannot be reached: " in err) == (2, True)
    assert "geheim" not in err
    assert not any(tmp_path.iterdir()), "what was not applied is not written either"


def test_a_view_is_withdrawn(published: psycopg.Connection, phlo: Any) -> None:
    phlo("--apply")
    code, out, _ = phlo("--withdraw", "--models", "mrt_glucose*")
    assert (code, out) == (
        0,
        "Dropped api.glucose_overview, api.hourly_patterns: phlo api generate-views --apply makes them again.\n",
    )
    assert published.execute("SELECT to_regclass('api.glucose_overview')").fetchone() == (None,)
