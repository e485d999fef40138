"""Several requests at a time: a function applied to items by a few threads, no further ahead than needed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from airflow_provider_phlo.exceptions import TerminalError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """
    Yield what ``function`` returns for each of ``items``, in the order in which it is done.

    After an error no other item is begun; those that were are waited for, and their results are yielded before the
    error is raised. Of several errors, one that no retry can cure comes first.

    :param threads: how many items are in work at a time; twice as many are drawn.
    """
    left = iter(items)
    errors: list[BaseException] = []
    pending: set[Future[Result]] = set()
    with ThreadPoolExecutor(threads, "phlo-pulls") as pool:
        try:
            while True:
                while not errors and len(pending) < 2 * threads and (item := next(left, _END)) is not _END:
                    pending.add(pool.submit(function, item))  # type: ignore[arg-type]
                if not pending:
                    break
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if error is None:
                        yield future.result()
                    else:
                        errors.append(error)
                        pending -= {each for each in pending if each.cancel()}
        finally:
            for future in pending:
                future.cancel()
    if errors:
        raise min(errors, key=lambda error: not isinstance(error, TerminalError))


_END = object()
