"""
The batches of a microbatch model: which of them a run for a day builds, and what becomes of one that fails.

Batches run one after the other, as each is a commit to the same table. One that fails for a moment's reason is tried
again by itself; those that are done stay done.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dbt.materializations.incremental.microbatch import MicrobatchBuilder
from dbt.task.run import MicrobatchBatchRunner, MicrobatchModelRunner

from airflow_provider_phlo.dbt.results import may_pass_again

if TYPE_CHECKING:
    from dbt.artifacts.schemas.run import RunResult

# how often a batch is tried before the model fails, and how long to wait in between, in seconds
TRIES = 3
WAIT = 1.0
_DAY = dt.timedelta(days=1)


class NoThreads:
    """Stands for dbt's pool of threads where there is none."""

    def is_closed(self) -> bool:
        """Return that work is taken on."""
        return False


class Batch(MicrobatchBatchRunner):
    """A batch whose result says why it failed: dbt only logs that."""

    def _build_failed_run_batch_result(self, *args: Any, **kwargs: Any) -> RunResult:
        result = super()._build_failed_run_batch_result(*args, **kwargs)
        cause = sys.exc_info()[1]
        if cause is not None:
            result.message = str(cause)
        return result


class Batches(MicrobatchModelRunner):
    """All batches of a model."""

    def get_microbatch_builder(self, model: Any) -> MicrobatchBuilder:
        """Return dbt's choice of batches; for a day in the past, those of the day and of the lookback before it."""
        builder = super().get_microbatch_builder(model)
        day = os.environ.get("PHLO_PARTITION_DATE")
        if day and builder.is_incremental and builder.event_time_start is None:
            start = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
            if start + _DAY <= dt.datetime.now(dt.UTC):
                builder.event_time_start, builder.event_time_end = _first_of(model, start), start + _DAY
        return builder

    def merge_batch_results(self, result: RunResult, batch_results: Sequence[RunResult]) -> None:
        """Put the batches' results together; the first error is that of the model."""
        super().merge_batch_results(result, batch_results)
        broken = next((each for each in batch_results if str(each.status) == "error"), None)
        if broken is not None:
            result.message = broken.message
            result.node.compiled_code = broken.node.compiled_code
            result.node.compiled_path = broken.node.compiled_path


def _first_of(model: Any, day: dt.datetime) -> dt.datetime:
    """Return where the batches of a day begin: the lookback before it, but not before the model itself begins."""
    size = model.config.batch_size
    start = MicrobatchBuilder.offset_timestamp(day, size, -model.config.lookback)
    begin = MicrobatchBuilder.truncate_timestamp(model.config.begin, size).replace(tzinfo=dt.UTC)
    return max(start, min(begin, day))


def is_worth_another_try(results: Sequence[RunResult], tries: int) -> bool:
    """
    Return whether the last batch failed for a reason that may pass, after waiting for that.

    :param results: of the batches so far.
    :param tries: how often that one was tried.
    """
    last = results[-1]
    # what dbt skips, once the first batch has failed, has not been tried at all
    if tries >= TRIES or str(last.status) != "error" or not may_pass_again(str(last.message)):
        return False
    time.sleep(WAIT * tries)
    return True
