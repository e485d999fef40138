"""Work that goes on when the process which waits for it is interrupted or killed."""

from __future__ import annotations

import os
import pickle
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress

from airflow_provider_phlo.exceptions import PhloError, TransientError


def outlive(work: Callable[[], None], what: str, most_seconds: int) -> None:
    """
    Do some work in a fork, and wait for it.

    Airflow gives the import of a Dag file 30 seconds, then interrupts it, and kills it later: what takes longer would
    begin anew with every import. The fork goes on, and leaves what it makes for the next one.

    :param work: leaves its results in files, and keeps others from doing the same by a lock that it takes itself.
    :param what: what people call it, for an error.
    :param most_seconds: after which it ends in any case.
    :raises PhloError: as the work does; any other error of the work is raised with its text.
    :raises TransientError: the fork was killed.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns where there are threads; the fork uses none of theirs
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(reading)
        _work(work, writing, most_seconds)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
    except KeyboardInterrupt:  # of somebody at a terminal, who waits for nothing any more
        os.kill(child, signal.SIGTERM)
        raise
    _, status = os.waitpid(child, 0)
    if said:
        raise pickle.loads(said)  # noqa: S301 - of our own fork
    if status:
        raise TransientError(f"{what} was killed, or took more than {most_seconds} seconds: a retry may help.")


def _work(work: Callable[[], None], writing: int, most_seconds: int) -> None:
    """Be the fork: without what belongs to its parent."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(most_seconds)
        _leave_files(but=writing)
        work()
        code = 0
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        told = error if isinstance(error, PhloError) else RuntimeError(f"{type(error).__name__}: {error}")
        os.write(writing, pickle.dumps(told))
    finally:
        os._exit(code)


def _leave_files(but: int) -> None:
    """
    Let all files that are open lead nowhere: others see their end when the parent ends.

    They are not closed: what logs to one of them by its number would write into the next file that gets the number.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/dev/fd")):
        if number not in (but, nothing):
            with suppress(OSError):  # that of the listing itself
                os.dup2(nothing, number)
