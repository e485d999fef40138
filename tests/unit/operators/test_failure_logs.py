"""What a failed or skipped task says in its log: once, in our words, with what is kept and what to do."""

from __future__ import annotations

import logging

import pytest
import structlog
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.failure_logs import say_failures_plainly, says_it_all
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.quality import CountCheck, RangeCheck


@pytest.fixture
def logged():
    """Return a function that logs an error as Airflow does, and gives what reaches the log."""
    before = structlog.get_config()
    events = []

    def keep(_logger, _method, event):
        events.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    say_failures_plainly()
    say_failures_plainly()

    def log(error, exc_info=True):
        try:
            raise error
        except Exception as raised:  # noqa: BLE001 - as Airflow catches it
            structlog.get_logger().error(
                "Task failed with exception", exc_info=raised if exc_info is None else exc_info
            )
        (event,) = events
        events.clear()
        return event

    yield log
    structlog.configure(**before)


@pytest.mark.parametrize("exc_info", [True, None])
@pytest.mark.parametrize(
    "error", [says_it_all(AirflowFailException("main is as it was")), TransientError("main is as it was")]
)
def test_case_58_our_failures_have_no_stack(logged, error, exc_info):
    assert logged(error, exc_info) == {"event": "main is as it was"}


def test_case_58_errors_of_others_keep_theirs(logged):
    assert "exc_info" in logged(ValueError("x"))
    assert "exc_info" in logged(AirflowFailException("x"))


class Fails(PhloOperator):
    def run(self, context):
        raise TransientError("the server is away")


def test_case_58_the_frames_are_there_on_debug(make_context, caplog):
    task = Fails(task_id="fails")
    with caplog.at_level(logging.DEBUG), pytest.raises(TransientError):
        task.execute(make_context(task))
    assert "line" in next(record.message for record in caplog.records if "came from here" in record.message)


def ingestion(rows, **arguments):
    @phlo_ingestion(
        "readings", "id", None, "test", audit=[RangeCheck("value", max_value=1), CountCheck(1)], **arguments
    )
    def readings():
        return rows

    return readings


def test_case_58_a_failed_audit_says_once_what_is_kept_and_what_to_do(run_ingestion, catalog, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(AirflowFailException) as failed:
        run_ingestion(ingestion([{"id": "a", "value": 2.0}]))
    (branch,) = [name for name in catalog.load_table("raw.readings").refs() if name != "main"]
    message = str(failed.value)
    assert message.startswith("1 of 2 checks failed on raw.readings: RangeCheck(value): ")
    assert message.endswith(
        f"main of raw.readings is as it was. Branch {branch} is kept: look at it with phlo query --branch {branch} "
        '"SELECT * FROM raw.readings", fix the data or the check, then clear the run.'
    )
    found = message.partition("RangeCheck(value): ")[2].partition(". main")[0]
    assert found not in caplog.text  # the table of results leaves it to the error
    assert "RangeCheck(value)" in caplog.text


def test_case_59_a_skipped_day_says_why(run_ingestion, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(AirflowSkipException, match="returned None"):
        run_ingestion(ingestion(None))
    assert (
        "readings.ingest is skipped, and what depends on it: raw.readings: the source has nothing for 2025-03-04 "
        "(it returned None)."
    ) in caplog.messages
