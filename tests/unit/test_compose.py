"""``docker-compose.yaml``: what must hold of it without a Docker engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import yaml

from airflow_provider_phlo.publishing.postgres import publish
from airflow_provider_phlo.services.machine.env_file import read_env_file
from airflow_provider_phlo.services.postgres.programs import programs_folder
from airflow_provider_phlo.serving.hasura.metadata import DATABASE_URL
from airflow_provider_phlo.serving.marts import ANONYMOUS, AUTHENTICATOR, names_of, read_served
from airflow_provider_phlo.serving.postgrest.applying import apply_served
from airflow_provider_phlo.serving.postgrest.statements import Target
from tests.postgres_versions import running
from tests.unit.serving.models import manifest, model

ROOT = Path(__file__).parents[2]
DATABASES = ROOT / "deploy" / "databases.sh"
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service.get("restart") == "no"}
LONG_RUNNING = sorted(set(SERVICES) - ONE_SHOT)


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [str(value)]


def test_brings_the_whole_scale_setup() -> None:
    assert set(LONG_RUNNING) >= {
        "postgres",
        "s3",
        "catalog",
        "trino",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_publishes_on_loopback_only(name: str) -> None:
    assert "network_mode" not in SERVICES[name]
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_port_is_published_twice() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_reports_its_health_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_waits_for_what_it_needs(name: str) -> None:
    needs = SERVICES[name].get("depends_on", {})
    for other, how in needs.items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how["condition"] == wanted


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.search(r"\d+(\.\d+)?", tag)
    assert "latest" not in tag


def test_every_variable_is_required_and_has_no_default() -> None:
    # $$ is a literal dollar
    used = re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", TEXT)
    assert used
    assert {rest for _, rest in used} == {":?set it in .env"}


def test_env_example_lists_every_variable() -> None:
    used = {name for name, _ in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", TEXT)}
    listed = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.M))
    assert used <= listed
    assert read_env_file(ROOT / ".env.example") == {}  # and gives none of them a value


SECRET = re.compile(r"PASS|SECRET|_KEY|FERNET|ENCRYPTION|AUTH$|URL|RESULT_BACKEND|SQL_ALCHEMY_CONN|POSTGRES_DEFAULT")


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_written_down(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(key):
            if key.endswith(("BASE_URL", "SERVER_URL")):
                continue  # of Airflow's own server
            assert "${PHLO_" in value, key


def test_both_apis_take_the_same_tokens_and_read_without_writing() -> None:
    postgrest, hasura = (SERVICES[name]["environment"] for name in ("postgrest", "hasura"))
    jwt = json.loads(hasura["HASURA_GRAPHQL_JWT_SECRET"].replace("$$", "$"))
    assert jwt["key"] == postgrest["PGRST_JWT_SECRET"]
    assert jwt["claims_map"]["x-hasura-default-role"] == {"path": "$.role"}
    assert postgrest["PGRST_DB_ANON_ROLE"] == hasura["HASURA_GRAPHQL_UNAUTHORIZED_ROLE"] == ANONYMOUS
    assert postgrest["PGRST_DB_URI"].startswith(f"postgres://{AUTHENTICATOR}:")
    assert hasura[DATABASE_URL].startswith("postgres://hasura:")
    databases = DATABASES.read_text()
    assert f"CREATE ROLE {AUTHENTICATOR} LOGIN NOINHERIT PASSWORD" in databases
    assert f"GRANT CONNECT ON DATABASE marts TO {AUTHENTICATOR}, hasura, marts_reader" in databases


def test_connection_and_warehouse_are_json() -> None:
    environment = COMPOSE["x-airflow"]["environment"]
    connection = json.loads(environment["AIRFLOW_CONN_ICEBERG_DEFAULT"])
    warehouse = json.loads(COMPOSE["configs"]["warehouse"]["content"])
    assert connection["extra"]["warehouse"] == warehouse["warehouse-name"]
    assert connection["extra"]["s3.endpoint"] == warehouse["storage-profile"]["endpoint"]


@pytest.mark.parametrize("name", SERVICES)
def test_has_a_profile_limits_and_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert set(service["profiles"]) <= {"core", "scale", "serving", "bi"}
    assert service["mem_limit"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name != "s3":
        assert service["cap_drop"] == ["ALL"]
    for other in service.get("depends_on", {}):
        assert set(service["profiles"]) <= set(SERVICES[other]["profiles"])


def test_core_and_scale_differ_in_who_runs_tasks_only() -> None:
    core, scale = (
        {name for name in SERVICES if profile in SERVICES[name]["profiles"]} for profile in ("core", "scale")
    )
    assert core - scale == {"scheduler"}
    assert scale - core == {"scheduler-celery", "worker", "redis"}
    for name in ("scheduler-celery", "worker"):
        added = SERVICES[name]["environment"].items() - SERVICES["scheduler"]["environment"].items()
        assert {key for key, _ in added} == {
            "AIRFLOW__CORE__EXECUTOR",
            "AIRFLOW__CELERY__BROKER_URL",
            "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG",
            "AIRFLOW__CELERY__RESULT_BACKEND",
        }


def test_each_part_has_a_database_role_of_its_own() -> None:
    roles = re.findall(r"\\getenv (\w+) (\w+)", DATABASES.read_text())
    given = SERVICES["postgres"]["environment"]
    passwords = {role: given[variable] for role, variable in roles}
    assert len(set(passwords.values())) == len(passwords)
    used = re.findall(r"://(\w+):(\$\{\w+:\?set it in \.env\})@postgres", TEXT)
    assert dict(used) == passwords


@pytest.mark.parametrize("name", SERVICES)
def test_a_read_only_container_gets_files_only(name: str) -> None:
    """Compose copies configurations with a content of their own into the container, which has to be writable."""
    if SERVICES[name].get("read_only"):
        for config in SERVICES[name].get("configs", []):
            assert "file" in COMPOSE["configs"][config["source"]]


@pytest.mark.long
def test_the_databases_are_made_and_closed_to_the_others() -> None:
    binaries = programs_folder()
    passwords = {name: f"it's {name}" for _, name in re.findall(r"\\getenv (\w+) (\w+)", DATABASES.read_text())}
    with running(binaries) as uri:
        server = uri.removeprefix("postgresql://phlo:phlo@").removesuffix("/phlo")
        host, port = server.split(":")
        place = {"PGHOST": host, "PGPORT": port, "POSTGRES_USER": "super", "PATH": f"{binaries}:{os.defpath}"}
        subprocess.run(["sh", DATABASES], env={**place, **passwords}, check=True, timeout=60)

        def connect(role: str, database: str) -> psycopg.Connection:
            return psycopg.connect(f"postgresql://{role}@{server}/{database}", autocommit=True)

        for role in ("airflow", "catalog", "marts"):
            with connect(role, role) as own:
                own.execute("CREATE TABLE mine AS SELECT 1 AS n")
        with connect("marts_reader", "marts") as reader:
            assert reader.execute("SELECT n FROM mine").fetchall() == [(1,)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("DELETE FROM mine")
        for role, other in (
            ("marts_reader", "airflow"),
            ("marts", "airflow"),
            ("catalog", "marts"),
            ("airflow", "marts"),
        ):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                connect(role, other)

        # PostgREST starts before there is anything to serve: what it asks first is answered
        with connect(AUTHENTICATOR, "marts") as postgrest, postgrest.transaction():
            postgrest.execute("SELECT set_config('role', %s, true)", [ANONYMOUS])
            assert postgrest.execute(
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'api'::regnamespace"
            ).fetchone()
        # and a first mart with a row policy hides nothing from those who look at all of them
        with connect("marts", "marts") as owner:
            publish(pa.table({"id": [1, 2]}), owner, "mrt_orders")
            served = [manifest(model("mrt_orders", {"id": {}}, meta={"api_policy": "id = 1"}))]
            applied = apply_served(owner, read_served(served, ["*"]), Target(), names_of(served))
            assert (applied.views[0].action, applied.notes) == ("created", ())
        for role in ("marts_reader", "hasura"):
            with connect(role, "marts") as reader:
                assert reader.execute("SELECT id FROM marts.mrt_orders ORDER BY id").fetchall() == [(1,), (2,)]


def test_volumes_and_configs_are_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"]


def test_no_state_or_secret_gets_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", ".git", ".phlo", ".venv"} <= set(ignored)


def test_the_chart_makes_no_user_with_a_known_password() -> None:
    values = yaml.safe_load((ROOT / "deploy" / "airflow-values.yaml").read_text())
    assert values["createUserJob"] == {"enabled": False}
