"""``docker-compose.yaml`` as ``docker compose config`` reads it: by the specification's own implementation."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_phlo.services.machine.env_file import read_env_file
from airflow_provider_phlo.services.supervising.compose_secrets import generate_missing
from tests.patience import PATIENCE
from tests.services import programs

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yaml"
BASE = {"postgres"}
CORE = BASE | {
    *("s3", "catalog", "catalog-migrate", "catalog-setup", "trino"),
    *("airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"),
}
SERVING = {"api", "hasura", "pgweb", "postgrest"}
SUPERSET = {"superset", "superset-init", "superset-import"}
PROFILES = {
    ("core",): CORE,
    ("scale",): CORE - {"scheduler"} | {"scheduler-celery", "worker", "redis"},
    ("serving",): BASE | SERVING,
    ("bi",): BASE | SUPERSET,
    ("core", "serving", "bi"): CORE | SERVING | SUPERSET,
}


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "env"
    path.write_text((ROOT / ".env.example").read_text())
    generate_missing(FILE, path, {})
    return path


def resolve(env_file: Path, *profiles: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    command = [programs.compose_config(), FILE, env_file, *profiles]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(("profiles", "expected"), PROFILES.items(), ids=["+".join(each) for each in PROFILES])
def test_each_profile_is_whole(env_file: Path, profiles: tuple[str, ...], expected: set[str]) -> None:
    done = resolve(env_file, *profiles)
    assert done.returncode == 0, done.stderr
    services: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    assert set(services) == expected
    for service in services.values():
        assert set(service.get("depends_on") or {}) <= set(services)


def test_without_its_secrets_nothing_starts(tmp_path: Path) -> None:
    done = resolve(ROOT / ".env.example", "core")
    assert done.returncode == 1
    assert "set it in .env" in done.stderr


def test_generated_secrets_reach_what_asks_for_them(env_file: Path) -> None:
    secrets = read_env_file(env_file)
    everything = json.loads(resolve(env_file, "*").stdout)
    text = json.dumps(everything)
    assert all(value in text for value in secrets.values())
    services = everything["services"]
    # one that holds a secret of another could act as it
    reader = secrets["PHLO_MARTS_READER_PASSWORD"]
    holders = {name for name, each in services.items() if reader in json.dumps(each)}
    assert holders == {"pgweb", "postgres", "superset-import"}
    superuser = secrets["PHLO_POSTGRES_PASSWORD"]
    assert {name for name, each in services.items() if superuser in json.dumps(each)} == {"postgres"}
