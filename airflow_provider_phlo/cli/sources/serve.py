"""``phlo serve``: the API of public events as a server of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.terminal.errors import exit_on_error
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.ui.alone import AirflowAddress


def serve(args: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    with exit_on_error("serve"):
        import uvicorn

        from airflow_provider_phlo import settings
        from airflow_provider_phlo.events.paths import event_paths
        from airflow_provider_phlo.ui.alone import TOKEN_VARIABLE, create_alone_app

        paths = event_paths(settings.home())
        app = create_alone_app(
            lambda: paths.published,
            host=args.host,
            token=os.environ.get(TOKEN_VARIABLE, "").strip() or None,
            airflow=_airflow(),
        )
        uvicorn.run(app, host=args.host, port=args.port, log_level="info", server_header=False)


def _airflow() -> AirflowAddress | None:
    """Return the Airflow of the connection, else that of the embedded environment, if there is one."""
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.connections import find_connection
    from airflow_provider_phlo.services.environment import embedded
    from airflow_provider_phlo.services.machine.ports import HOST
    from airflow_provider_phlo.ui.alone import CONNECTION, AirflowAddress

    connection = find_connection(CONNECTION)
    if connection is None:
        home = settings.home()
        if not (home / "airflow" / "port").exists():
            return None
        url = f"http://{HOST}:{embedded.ui_port(home)}"
        return AirflowAddress(url, embedded.UI_USER, embedded.secret(home, "ui_password"))
    scheme = "https" if "https" in (connection.conn_type, connection.schema) else "http"
    if not (connection.host and connection.login and connection.password):
        raise ConfigurationError(f"The connection {CONNECTION} needs a host, a login and a password of Airflow.")
    port = f":{connection.port}" if connection.port else ""
    return AirflowAddress(f"{scheme}://{connection.host}{port}", connection.login, connection.password)
