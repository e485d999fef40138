"""
Airflow's LocalExecutor, whose scheduler hears at once that a task has ended.

A scheduler with nothing to do sleeps, and a task that is next has to wait until it wakes up: with ten short tasks in a
row that is a good part of what a run takes. Here the sleep is over when a task is.
"""

from __future__ import annotations

from multiprocessing.connection import wait

from airflow.executors.local_executor import LocalExecutor


class PromptLocalExecutor(LocalExecutor):
    """
    Wait for the end of a task where the scheduler would sleep.

    Set ``[scheduler] scheduler_idle_sleep_time`` to 0 with it: the scheduler waits here instead, as long as
    :attr:`patience` says.
    """

    #: The longest wait in seconds: as long, a run that somebody starts may wait to be seen.
    patience = 0.2

    def heartbeat(self) -> None:
        """Start what is queued, and take note of what has ended; wait for that if there is nothing to start."""
        queued = self._queued()
        super().heartbeat()
        # what stays queued because all slots are taken waits for the end of a task, too
        if self._queued() >= queued and not self.event_buffer:
            wait([self.result_queue._reader], self.patience)  # type: ignore[attr-defined]
            self.sync()

    def _queued(self) -> int:
        return len(self.queued_tasks) + len(self.queued_callbacks) + len(self.queued_connection_tests)
