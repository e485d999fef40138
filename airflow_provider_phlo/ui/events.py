"""The HTTP API of public events: its routes, its errors, and its documentation."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from airflow_provider_phlo import __version__
from airflow_provider_phlo.events.queries import TOP_REPOS, USER_SESSIONS, Answer
from airflow_provider_phlo.events.terms import INGEST_DAG, LOAD_DAG, LOAD_TASK
from airflow_provider_phlo.exceptions import PhloError, TransientError
from airflow_provider_phlo.model_errors import words_for
from airflow_provider_phlo.ui.asking import ClientGoneError, Questions
from airflow_provider_phlo.ui.dag_runs import DagRuns, Outcome
from airflow_provider_phlo.ui.messages import (
    Accepted,
    Health,
    Loaded,
    LoadWait,
    RepoWindow,
    SessionWindow,
    TopRepo,
    UserSession,
    problems,
)
from airflow_provider_phlo.ui.origins import same_origin_check

_DESCRIPTION = """\
GitHub's public events as the last load published them: no answer waits for a load, or shows half of one.
The header `X-Phlo-Published-At` of an answer says when that was; without it, nothing was published yet.
Errors have one form: `{"detail": "what is wrong, and what to do"}`.
"""
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
_PUBLISHED_HEADERS = {
    "X-Phlo-Published-At": {"description": "When the events were published", "schema": {"type": "string"}},
    "X-Phlo-Events": {"description": "How many events are published", "schema": {"type": "string"}},
}
# nginx's: the client has closed the connection
_CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True)
class Site:
    """
    What differs between an API in Airflow's api-server and one alone.

    :param published: returns where the loader publishes.
    :param may_read: the dependency that refuses whoever may not read.
    :param may_ingest: the same for whoever may not start the ingesting DAG.
    :param may_load: the same for the loading DAG.
    :param dag_runs: opens Airflow's REST API for a request.
    :param trusted_origins: returns other origins whose pages may send what changes something.
    """

    published: Callable[[], Path]
    may_read: Any
    may_ingest: Any
    may_load: Any
    dag_runs: Callable[[Request], AbstractAsyncContextManager[DagRuns]]
    trusted_origins: Callable[[], Collection[str]] = tuple


def create_app(site: Site) -> FastAPI:
    """Return the API of a site."""
    app = FastAPI(
        title="Phlo: public events",
        description=_DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    _answer_errors(app)

    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Say that the server answers")
    async def health() -> Health:
        return Health(status="ok")

    _add_queries(app, site)
    _add_triggers(app, site)
    _add_documents(app, site)
    return app


def _add_queries(app: FastAPI, site: Site) -> None:
    questions = Questions(site.published)
    responses = {200: {"headers": _PUBLISHED_HEADERS}, **problems(401, 403, 422, 500, 503)}

    dependencies = [site.may_read, Depends(_require_single)]

    @app.get("/top-repos", dependencies=dependencies, responses=responses, summary="The busiest repositories")
    async def top_repos(request: Request, response: Response, window: Annotated[RepoWindow, Query()]) -> list[TopRepo]:
        """The repositories with the most events of the last days, the busiest first; equal ones by name."""
        answer = await questions.ask(request, TOP_REPOS, days=window.days, limit=window.limit)
        return [TopRepo.model_validate(row) for row in _objects(answer, response)]

    @app.get("/user-sessions", dependencies=dependencies, responses=responses, summary="Sessions of users")
    async def user_sessions(
        request: Request, response: Response, window: Annotated[SessionWindow, Query()]
    ) -> list[UserSession]:
        """
        The sessions that began in the last days, the latest first.

        More than 30 minutes without an event end a session. Its id consists of the user and its beginning, so that it
        stays the same.
        """
        answer = await questions.ask(request, USER_SESSIONS, days=window.days, limit=window.limit)
        return [UserSession.model_validate(row) for row in _objects(answer, response)]


def _require_single(request: Request) -> None:
    """Refuse a parameter that is given twice: which one is meant?"""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        error = {"type": "value_error", "msg": "give it once"}
        raise RequestValidationError([{**error, "loc": ("query", name)} for name in repeated])


def _objects(answer: Answer, response: Response) -> list[dict[str, Any]]:
    if answer.published_at is not None:
        response.headers["X-Phlo-Published-At"] = answer.published_at.isoformat()
        response.headers["X-Phlo-Events"] = str(answer.events)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def _add_triggers(app: FastAPI, site: Site) -> None:
    same_origin = Depends(same_origin_check(site.trusted_origins))
    responses = problems(401, 403, 409, 500, 503)

    @app.post(
        "/ingest",
        status_code=status.HTTP_202_ACCEPTED,
        dependencies=[site.may_ingest, same_origin],
        responses=responses,
        summary="Fetch new events",
    )
    async def ingest(request: Request) -> Accepted:
        """Start a run of the DAG that fetches new events, loads and publishes them."""
        async with site.dag_runs(request) as runs:
            run_id = await runs.trigger(INGEST_DAG)
        return Accepted(message=f"DAG {INGEST_DAG} fetches new events.", dag_run_id=run_id)

    @app.post(
        "/load",
        response_model=Loaded,
        dependencies=[site.may_load, same_origin, Depends(_require_single)],
        responses={202: {"model": Accepted, "description": "The run goes on"}, **responses, **problems(422)},
        summary="Load batches that are there",
    )
    async def load(request: Request, wait: Annotated[LoadWait, Query()]) -> Any:
        """Start a run of the DAG that loads the batches that are new, and wait for what it did."""
        async with site.dag_runs(request) as runs:
            run_id = await runs.trigger(LOAD_DAG)
            outcome = await runs.outcome(LOAD_DAG, run_id, LOAD_TASK, wait.seconds)
        if outcome is None:
            accepted = Accepted(message=f"DAG {LOAD_DAG} did not end within {wait.seconds} s.", dag_run_id=run_id)
            return JSONResponse(accepted.model_dump(), status.HTTP_202_ACCEPTED)
        return _loaded(outcome, run_id)


def _loaded(outcome: Outcome, run_id: str) -> Loaded:
    """
    Return what a load did.

    :raises HTTPException: it failed; says what was loaded nevertheless.
    """
    counts = outcome.result if isinstance(outcome.result, dict) else {}
    if outcome.state == "success" and counts:
        return Loaded.model_validate(counts)
    done = ", ".join(f"{name} {counts[name]}" for name in ("loaded_files", "inserted_events") if name in counts)
    raise HTTPException(
        status.HTTP_500_INTERNAL_SERVER_ERROR,
        f"Run {run_id} of DAG {LOAD_DAG} ended as {outcome.state}: the log of its task {LOAD_TASK} says why. "
        f"What it loaded stays ({done or 'no counts'}).",
    )


def _add_documents(app: FastAPI, site: Site) -> None:
    @app.get("/openapi.json", include_in_schema=False, dependencies=[site.may_read])
    async def openapi(request: Request) -> JSONResponse:
        document = app.openapi()
        return JSONResponse({**document, "servers": [{"url": request.scope.get("root_path", "") or "/"}]})

    @app.get("/docs", include_in_schema=False, dependencies=[site.may_read])
    async def docs() -> HTMLResponse:
        script, style, icon = (f"docs/{name}" for name in _ASSETS)
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        )

    @app.get("/docs/{name}", include_in_schema=False, dependencies=[site.may_read])
    async def asset(name: str) -> FileResponse:
        """Return a part of the page: it has to work where no content delivery network is reached."""
        if name not in _ASSETS:
            raise HTTPException(status.HTTP_404_NOT_FOUND)
        return FileResponse(Path(str(importlib.resources.files("fastapi_offline"))) / "static" / name)


# --- errors: one form


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {words_for(each)}" for each in error.errors())
        return _problem(status.HTTP_422_UNPROCESSABLE_CONTENT, said)

    @app.exception_handler(PhloError)
    async def failed(_: Request, error: PhloError) -> JSONResponse:
        passing = isinstance(error, TransientError)
        code = status.HTTP_503_SERVICE_UNAVAILABLE if passing else status.HTTP_500_INTERNAL_SERVER_ERROR
        return _problem(code, str(error))

    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, __: ClientGoneError) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return _problem(status.HTTP_500_INTERNAL_SERVER_ERROR, "An error of the server: its log says which.")


def _problem(code: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, code)
