"""Repeat what lost a race against other writers: the one retry loop, and the errors that it repeats."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError

from airflow_provider_phlo.exceptions import CommitConflictError, TransientError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

COMMIT_ROUNDS = 50
PUBLISH_ROUNDS = 20


def retry(attempt: Callable[[], Result], lost: type[Exception], rounds: int) -> Result:
    """
    Repeat ``attempt`` as long as it raises ``lost``, at most ``rounds`` times.

    :raises Exception: what the last round raised.
    """
    for round_number in range(rounds - 1):
        try:
            return attempt()
        except lost:
            pause(round_number)
    return attempt()


def pause(round_number: int) -> None:
    """Wait a random moment from the second round on, a longer one in later rounds, so that races end."""
    time.sleep(random.uniform(0, 0.02 * min(round_number, 25)))  # noqa: S311  # spreads writers, no secret


def retry_commit(attempt: Callable[[], Result], identifier: str) -> Result:
    """
    Repeat ``attempt`` while it loses the race to replace the table's metadata.

    :param attempt: loads the table, decides and commits; a conflict that it raises itself is not retried.
    :raises CommitConflictError: if other writers won every round.
    """

    def commit() -> Result:
        with disk_errors(identifier):
            return attempt()

    try:
        return retry(commit, CommitFailedException, COMMIT_ROUNDS)
    except CommitFailedException as error:
        raise CommitConflictError(
            f"{identifier}: other writers committed first {COMMIT_ROUNDS} times in a row; retry."
        ) from error


def retry_conflicts(attempt: Callable[[], Result], what: str, rounds: int | None = None) -> Result:
    """
    Repeat ``attempt`` while other writers win; one of them wins every round, so all get through.

    :param attempt: computes and publishes anew each time.
    :param what: names it in messages: a table, or several.
    :param rounds: :data:`PUBLISH_ROUNDS` when None.
    :raises CommitConflictError: if others won every round.
    """

    rounds = rounds or PUBLISH_ROUNDS

    def logged() -> Result:
        try:
            return attempt()
        except CommitConflictError as conflict:
            log.info("%s: another writer was faster (%s)", what, conflict)
            raise

    try:
        return retry(logged, CommitConflictError, rounds)
    except CommitConflictError as conflict:
        raise CommitConflictError(
            f"{what}: other writers were faster {rounds} times; nothing was published, retry."
        ) from conflict


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """
    Explain that the disk is full and what to do; a later attempt may find room.

    :raises TransientError: if the disk is full, instead of the error that says so.
    """
    try:
        yield
    except (OSError, OperationalError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in (errno.ENOSPC, errno.EDQUOT) and "disk is full" not in str(error):
            raise
        raise TransientError(
            f"No space left while writing {what}: free some (airflow phlo maintenance plan reports how much old "
            "snapshots hold). Nothing was committed; a retry writes it again."
        ) from error
