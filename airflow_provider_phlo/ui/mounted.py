"""The API of public events in Airflow's api-server, for users who are logged in there. Imports next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

    from airflow_provider_phlo.ui.dag_runs import DagRuns

URL_PREFIX = "/phlo/events"
_AIRFLOW = "phlo.airflow"


class MountedApp:
    """
    The API, made when the first request comes: every Airflow process that loads plugins has this object.

    It knows the app that it is mounted in, whose REST API starts runs and knows their results.
    """

    def __init__(self) -> None:
        self._app: FastAPI | None = None
        self._lock = asyncio.Lock()

    def __str__(self) -> str:
        return "public events: top repositories, sessions, loads"

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer a request (ASGI)."""
        async with self._lock:
            if self._app is None:
                self._app = await asyncio.to_thread(_build)
        scope[_AIRFLOW] = scope.get("app")
        await self._app(scope, receive, send)


def _build() -> FastAPI:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends

    from airflow_provider_phlo import settings
    from airflow_provider_phlo.events.paths import event_paths
    from airflow_provider_phlo.events.terms import INGEST_DAG, LOAD_DAG
    from airflow_provider_phlo.ui.events import Site, create_app

    def may_trigger(dag_id: str) -> Any:
        return Depends(requires_access_dag("POST", DagAccessEntity.RUN, dag_id))

    return create_app(
        Site(
            published=lambda: event_paths(settings.home()).published,
            may_read=Depends(requires_access_dag("GET", param_dag_id=INGEST_DAG)),
            may_ingest=may_trigger(INGEST_DAG),
            may_load=may_trigger(LOAD_DAG),
            dag_runs=_dag_runs,
            trusted_origins=settings.trusted_origins,
        )
    )


@asynccontextmanager
async def _dag_runs(request: Request) -> AsyncIterator[DagRuns]:
    """Yield the REST API of this api-server, called without a connection, as the user of the request."""
    import httpx
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN

    from airflow_provider_phlo.ui.dag_runs import DagRuns

    # the header wins, as it does in Airflow's own check of who it is
    authorization = request.headers.get("authorization") or f"Bearer {request.cookies.get(COOKIE_NAME_JWT_TOKEN, '')}"
    transport = httpx.ASGITransport(app=request.scope[_AIRFLOW], raise_app_exceptions=False)
    headers = {"Authorization": authorization}
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=headers) as client:
        yield DagRuns(client)
