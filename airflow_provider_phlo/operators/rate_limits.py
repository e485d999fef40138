"""Wait for a source's rate limit in the triggerer, where waiting costs nothing, and then go on."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_phlo.exceptions import SourceUnavailableError
from airflow_provider_phlo.operators.base import PhloOperator, check_flags

if TYPE_CHECKING:
    from airflow.sdk import Context

# A server that asks for more is broken, or has locked the token out.
LONGEST_WAIT = datetime.timedelta(hours=25)
# In a row, without one answer between them. Many tasks may wait for their share of an hourly limit.
WAITS_IN_VAIN = 50
LONGEST_PAUSE_SECONDS = 300.0
# So that tasks that wait for one reset do not all ask at once.
SPREAD_SECONDS = 0.5
MOST_SPREAD_SECONDS = 30.0


class RateLimitedOperator(PhloOperator):
    """
    An operator whose source may have a rate limit.

    When the limit outlasts the patience of the source's client, the task is deferred until the limit resets, and then
    runs anew; it needs no retry for that. Other errors, and limits that never let a request through, end it as ever.

    :param deferrable: False fails the task instead, so that Airflow retries it after its ``retry_delay``.
    """

    def __init__(self, *, deferrable: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_flags(deferrable=deferrable)
        self.deferrable = deferrable

    def execute_after_reset(self, context: Context, event: Any = None, waits_in_vain: int = 0) -> Any:
        """Run again when the limit has been reset; what was read before is the source's to remember."""
        return self.attempt(context, waits_in_vain)

    def attempt(self, context: Context, waits_in_vain: int = 0) -> Any:
        try:
            return super().attempt(context)
        except SourceUnavailableError as error:
            if error.answers:
                waits_in_vain = 0
            reset = error.retry_at
            if reset is None or not self.deferrable or _is_far(reset) or waits_in_vain >= WAITS_IN_VAIN:
                raise
            self.log.info("%s", error)
        return self._defer_until(reset, context, waits_in_vain)

    def _defer_until(self, reset: datetime.datetime, context: Context, waits_in_vain: int) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        now = datetime.datetime.now(datetime.UTC)
        spread = min(max(getattr(context.get("ti"), "map_index", -1), 0) * SPREAD_SECONDS, MOST_SPREAD_SECONDS)
        pause = min(2.0**waits_in_vain, LONGEST_PAUSE_SECONDS)
        moment = max(reset, now + datetime.timedelta(seconds=pause)) + datetime.timedelta(seconds=spread)
        self.log.info("%s waits until %s without a worker.", self.task_id, f"{moment:%Y-%m-%dT%H:%M:%SZ}")
        self.defer(
            trigger=DateTimeTrigger(moment=moment),
            method_name="execute_after_reset",
            kwargs={"waits_in_vain": waits_in_vain + 1},
        )


def _is_far(reset: datetime.datetime) -> bool:
    return reset - datetime.datetime.now(datetime.UTC) > LONGEST_WAIT
