"""What the API of public events takes and gives, with examples."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from airflow_provider_phlo.events.queries import MOST_DAYS, MOST_ROWS
from airflow_provider_phlo.events.terms import INGEST_DAG

LONGEST_WAIT = 600


def _digits(text: Any) -> Any:
    """Refuse what Python takes for a number too: 7.0, 1_000, signs and blanks, digits of other scripts."""
    if isinstance(text, str) and not (text.isascii() and text.isdecimal()):
        raise PydanticCustomError("whole_number", "Give a whole number above 0, in digits")
    return text


def _number(default: int, most: int, description: str) -> Any:
    return Field(default, gt=0, le=most, description=description, examples=[default])


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


_Whole = Annotated[int, BeforeValidator(_digits)]


class _Parameters(BaseModel):
    # a parameter that is spelled wrongly must not be taken for one that is not given
    model_config = ConfigDict(extra="forbid")


class RepoWindow(_Parameters):
    """Which repositories."""

    days: _Whole = _number(7, MOST_DAYS, "Count the events of the last days")
    limit: _Whole = _number(10, MOST_ROWS, "At most this many repositories")


class SessionWindow(_Parameters):
    """Which sessions."""

    days: _Whole = _number(7, MOST_DAYS, "Sessions that began in the last days")
    limit: _Whole = _number(50, MOST_ROWS, "At most this many sessions")


class LoadWait(_Parameters):
    """How long to wait for a load."""

    seconds: _Whole = _number(60, LONGEST_WAIT, "After this many seconds, answer 202 while the run goes on")


class Health(BaseModel):
    """The server answers."""

    model_config = _example(status="ok")
    status: Literal["ok"]


class Problem(BaseModel):
    """What is wrong, and what to do."""

    detail: str


class TopRepo(BaseModel):
    """A repository and its events of the last days."""

    model_config = _example(
        repo_name="octocat/hello-world",
        total_events=1200,
        unique_users=310,
        push_events=840,
        first_event_at="2026-01-08T12:00:04Z",
        last_event_at="2026-01-15T11:58:40Z",
        processed_at="2026-01-15T12:00:00Z",
    )
    repo_name: str
    total_events: int = Field(description="All its events")
    unique_users: int = Field(description="How many users made them")
    push_events: int = Field(description="How many of them are pushes")
    first_event_at: datetime
    last_event_at: datetime
    processed_at: datetime = Field(description="When this was counted")


class UserSession(BaseModel):
    """Events of a user with pauses of at most 30 minutes."""

    model_config = _example(
        actor_login="octocat",
        session_id="octocat-20260115T101502Z",
        session_start_at="2026-01-15T10:15:02Z",
        session_end_at="2026-01-15T11:03:47Z",
        events_in_session=14,
    )
    actor_login: str
    session_id: str = Field(description="The user and the beginning of the session")
    session_start_at: datetime
    session_end_at: datetime
    events_in_session: int


class Accepted(BaseModel):
    """A run of a DAG was started."""

    model_config = _example(
        status="accepted",
        message=f"DAG {INGEST_DAG} fetches new events.",
        dag_run_id="manual__2026-01-15T12:00:00+00:00",
    )
    status: Literal["accepted"] = "accepted"
    message: str
    dag_run_id: str


class Loaded(BaseModel):
    """What a load did."""

    model_config = _example(
        scanned_files=120,
        loaded_files=2,
        skipped_files=118,
        inserted_events=297,
        rejected_lines=0,
        other_files=0,
        duration_ms=412,
        db_path="/srv/phlo/events/github_events.duckdb",
    )
    scanned_files: int
    loaded_files: int
    skipped_files: int = Field(description="Files whose content had been loaded before")
    inserted_events: int
    rejected_lines: int = Field(description="Lines that are not events; they are in the table rejected_lines")
    other_files: int = Field(description="Files of names that are not loaded")
    duration_ms: int
    db_path: str


_DETAILS = {
    401: "Not authenticated",
    403: "Forbidden",
    409: f"DAG {INGEST_DAG} is paused, so that its runs wait: unpause it in Airflow.",
    422: "days: has to be more than 0",
    500: "An error of the server: its log says which.",
    503: "No answer in 60 s: ask for fewer days.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of errors."""
    return {
        code: {
            "model": Problem,
            "description": HTTPStatus(code).phrase,
            "content": {"application/json": {"example": {"detail": _DETAILS[code]}}},
        }
        for code in codes
    }
