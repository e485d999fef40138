"""A connection that cannot be read is not one that is unset: nobody is to work in the embedded catalog instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import configuration
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection
from airflow.secrets import BaseSecretsBackend

from airflow_provider_phlo import connections
from airflow_provider_phlo.cli.sources.serve import _airflow
from airflow_provider_phlo.connections import require_unset
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.hooks.github import github_connection
from airflow_provider_phlo.hooks.hasura import hasura_address
from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
from airflow_provider_phlo.hooks.postgres import postgres_coordinates
from airflow_provider_phlo.hooks.trino import connect_to
from airflow_provider_phlo.operators.ingest import _resolve
from airflow_provider_phlo.ui.alone import CONNECTION

SECRET = "CANARY-pw7"
HOOKS: dict[str, Callable[[str], Any]] = {
    "iceberg_default": lambda name: PhloIcebergHook(name).properties,
    "lake": lambda name: PhloIcebergHook(name).properties,
    "postgres_default": postgres_coordinates,
    "warehouse": postgres_coordinates,
    "trino_default": lambda name: connect_to(name)(),
    "my_api": _resolve,
    "github_default": github_connection,
    "hasura_default": hasura_address,
    CONNECTION: lambda name: _airflow(),
}


class Unreachable(BaseSecretsBackend):
    """A secrets backend whose server is down."""

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:
        raise ConnectionError(f"refused with {SECRET}")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    monkeypatch.setattr(connections, "_UNSET", {})


@pytest.mark.parametrize("conn_id", HOOKS)
@pytest.mark.parametrize("value", [f'{{"password": "{SECRET}",', f"iceberg://u:{SECRET}@[::1/x", "{]", '{"port": "x"'])
def test_case_42_a_typing_error_does_not_unset_a_connection(
    monkeypatch: pytest.MonkeyPatch, conn_id: str, value: str
) -> None:
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(AirflowNotFoundException):  # Airflow's own word
        BaseHook.get_connection(conn_id)
    with pytest.raises(ConfigurationError, match=f"{variable} is neither a URI nor JSON.*Correct it") as caught:
        HOOKS[conn_id](conn_id)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("conn_id", HOOKS)
def test_case_42_a_secrets_backend_that_is_down_does_not_unset_a_connection(
    monkeypatch: pytest.MonkeyPatch, conn_id: str
) -> None:
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", f"{__name__}.Unreachable")
    monkeypatch.setattr(configuration, "_secrets_backend_cache", {})
    monkeypatch.delenv(f"AIRFLOW_CONN_{conn_id.upper()}", raising=False)
    with pytest.raises(TransientError, match=r"Unreachable failed \(ConnectionError\)\. A retry may help") as caught:
        HOOKS[conn_id](conn_id)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("error", list(ErrorType))
def test_case_42_a_server_that_fails_does_not_unset_a_connection(
    monkeypatch: pytest.MonkeyPatch, error: ErrorType
) -> None:
    """What a worker's supervisor answers when Airflow's server does not."""

    class Supervisor:
        def send(self, message: Any) -> ErrorResponse:
            assert isinstance(message, GetConnection)
            return ErrorResponse(error=error)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
    if error == ErrorType.CONNECTION_NOT_FOUND:
        require_unset("iceberg_default")
        return
    with pytest.raises(TransientError, match=f"ExecutionAPISecretsBackend failed .{error.value}"):
        require_unset("iceberg_default")


def test_a_task_asks_once_and_soon_again_what_has_been_set_since(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Supervisor:
        def send(self, message: Any) -> ErrorResponse:
            asked.append(message)
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)

    def properties() -> dict[str, str]:
        return PhloIcebergHook("iceberg_default").properties

    embedded = properties()
    once = len(asked)
    assert once == 2
    assert [properties() for _ in range(3)] == [embedded] * 3
    assert len(asked) == once
    with monkeypatch.context() as changed:
        changed.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", '{"conn_type": "iceberg", "host": "https://lake.example.com"}')
        assert properties()["uri"] == "https://lake.example.com"
    monkeypatch.setattr(connections, "_KNOWN_SECONDS", -1.0)
    assert properties() == embedded
    assert len(asked) == 2 * once
