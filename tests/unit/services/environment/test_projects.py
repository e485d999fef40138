from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services import get_service_config
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import BUNDLED, find_project
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres

ROOT = Path(__file__).parents[4]


def project(folder: Path, text: str, **shell: str):
    (folder / "phlo.yaml").write_text(text)
    return find_project(folder, shell)


def message(folder: Path, text: str, **shell: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        project(folder, text, **shell)
    return str(raised.value).replace(f"{folder}/", "")


def test_nearest_folder_upwards_is_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "My Project!"
    (inner / "dags" / "deep").mkdir(parents=True)
    (tmp_path / "outer" / "phlo.yaml").write_text("name: outer\n")
    (inner / "phlo.yaml").touch()
    found = find_project(inner / "dags" / "deep", {})
    assert (found.root, found.home, found.name) == (inner, inner / ".phlo", "my-project")
    assert find_project(tmp_path / "outer", {}).name == "outer"
    assert find_project(inner, {"PHLO_HOME": str(tmp_path / "state")}).home == tmp_path / "state"


def test_a_folder_that_is_not_a_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path} is not in a project"):
        find_project(tmp_path, {})


def test_a_shell_of_another_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "bank").mkdir()
    shop, bank = project(tmp_path / "shop", ""), project(tmp_path / "bank", "")
    embedded.prepare(shop.home)
    shell = embedded.airflow_environment(shop.home, shop.root)
    assert find_project(shop.root / "dags", shell) == shop
    with pytest.raises(ConfigurationError, match=f"set up for {shop.root} .* belongs to {bank.root}"):
        find_project(bank.root, shell)


def test_names_follow_the_pattern_and_the_service_wins(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        "name: shop\ninfrastructure:\n  container_naming_pattern: '{project}.{service}'\n  services:\n"
        "    trino: {port: 8080, host: trino.example.com}\n    db: {service_name: postgres, container_name: the-db}\n",
    )
    assert found.service("trino") == {
        "host": "trino.example.com",
        "internal_host": "trino",
        "port": 8080,
        "container_name": "shop.trino",
        "service_name": "trino",
    }
    assert found.service("db") == {
        "host": "127.0.0.1",
        "internal_host": "postgres",
        "port": None,
        "container_name": "the-db",
        "service_name": "postgres",
    }
    with pytest.raises(ConfigurationError, match=r"no service 'trin'\. Did you mean trino\?"):
        found.service("trin")


def test_overlays_and_variables(tmp_path: Path) -> None:
    text = (
        "name: ${NAME:-shop}\ninfrastructure:\n  services:\n    trino: {host: '$${x}', port: 1}\n"
        "environments:\n  prod:\n    infrastructure:\n      services:\n        trino: {port: '${PORT}'}\n"
    )
    assert project(tmp_path, text).service("trino")["port"] == 1
    found = project(tmp_path, text, PHLO_ENVIRONMENT="prod", PORT="443", NAME="other")
    assert (found.name, found.service("trino")["host"], found.service("trino")["port"]) == ("other", "${x}", 443)
    (tmp_path / ".env").write_text("PORT=444\n")
    assert project(tmp_path, text, PHLO_ENVIRONMENT="prod").service("trino")["port"] == 444


TRINO = "infrastructure:\n  services:\n    trino:\n      "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nmae: x\n", "phlo.yaml, line 1: nmae is not known. Did you mean name?"),
        ("name: x\nowner: me\n", "phlo.yaml, line 2: owner is not known. Known are name, infrastructure."),
        (TRINO + "prot: 1\n", "phlo.yaml, line 4: infrastructure.services.trino.prot is not known. Did you mean port?"),
        (TRINO + "port: 70000\n", "phlo.yaml, line 4: infrastructure.services.trino.port: has to be at most 65535."),
        (TRINO + "port: s3cret\n", "line 4: infrastructure.services.trino.port: has to be a whole number"),
        ("name: My Shop\n", "phlo.yaml, line 1: name: only a to z"),
        ("infrastructure:\n  container_naming_pattern: x\n", "phlo.yaml, line 2: infrastructure.container_naming"),
        ("infrastructure:\n  container_naming_pattern: '{service'\n", "phlo.yaml, line 2: infrastructure.container"),
        ("name: ${NOBODY}\n", "phlo.yaml, line 1: name: NOBODY is not set"),
        ("name: ${NO BODY}\n", "phlo.yaml, line 1: name: write ${NAME}"),
        ("a: 1\nb: [\n", "phlo.yaml, line 3: this is not YAML"),
        ("- a\n", "phlo.yaml, line 1: write KEY: VALUE."),
        ("name: a\nname: b\n", "phlo.yaml, line 2: name is there twice."),
        ("name: &a\n  b: *a\n", "phlo.yaml, line 2: name.b: anchors"),
        ("environments: prod\n", "phlo.yaml, line 1: write environments: NAME: KEY: VALUE."),
        ("environments:\n  prod:\n    nmae: x\n", "phlo.yaml, line 3: nmae is not known."),
        ("environments:\n  prod:\n    name: ${X}\n    infrastructure: 1\n", "phlo.yaml, line 4: infrastructure: "),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    said = message(tmp_path, text)
    assert expected in said
    assert "s3cret" not in said
    assert "\n" not in said


def test_every_error_is_named_at_once(tmp_path: Path) -> None:
    said = message(tmp_path, TRINO + "prot: 1\n      hots: x\n")
    assert [line.partition(":")[0] for line in said.splitlines()] == ["phlo.yaml, line 4", "phlo.yaml, line 5"]


def test_an_environment_that_is_not_there(tmp_path: Path) -> None:
    said = message(tmp_path, "environments: {prod: {}}\n", PHLO_ENVIRONMENT="prd")
    assert said == "phlo.yaml: PHLO_ENVIRONMENT is prd, and environments has prod. Did you mean prod?"


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "phlo.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigurationError, match="not YAML in UTF-8"):
        find_project(tmp_path, {})


def test_the_embedded_ports_are_known(tmp_path: Path) -> None:
    found = project(tmp_path, "")
    assert [found.service(name)["port"] for name in BUNDLED] == [None] * len(BUNDLED)
    embedded.prepare(found.home)
    port = embedded.ui_port(found.home)
    server = ensure_postgres(found.home)
    stop_postgres(found.home)
    assert found.service("api-server")["port"] == port
    assert found.service("postgres")["port"] == server.port


def test_dags_find_the_project_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    found = project(tmp_path / "shop", "infrastructure: {services: {trino: {port: 81}}}\n")
    embedded.prepare(found.home)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHLO_PROJECT", embedded.airflow_environment(found.home, found.root)["PHLO_PROJECT"])
    assert get_service_config("trino")["port"] == 81


def test_this_project_says_what_its_compose_file_says() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    found = find_project(ROOT, {"PHLO_ENVIRONMENT": "scale"})
    assert found.name == compose["name"]
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert found.configuration.infrastructure.services.keys() == published.keys()
    for name, (port,) in published.items():
        assert port.startswith(f"{found.service(name)['host']}:{found.service(name)['port']}:")


def test_phlo_yaml_is_read_without_airflow() -> None:
    code = (
        "import sys; from airflow_provider_phlo.services import get_service_config; get_service_config('postgres'); "
        "print(sorted({'airflow', 'dlt', 'pyarrow', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[\]\n", done.stdout)
