"""The edge of the command line: every error becomes a line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import importlib
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.library_errors import describe, trace

if TYPE_CHECKING:
    import argparse

FAILED = 1
REFUSED = 2
# what shells report for a program that Ctrl-C ended
_INTERRUPTED = 130
# and for one whose output nobody reads any more: phlo … | head
_READ_NO_MORE = 141
_verbose = ContextVar("verbose", default=False)


def run(path: str, command: str, args: argparse.Namespace) -> None:
    """
    Run one command.

    :param path: import path of its function, which gets ``args``.
    :param command: its name, for messages.
    """
    _verbose.set(args.verbose)
    with _quiet(args.verbose), exit_on_error(command):
        _check_text(vars(args))
        module, _, name = path.rpartition(".")
        with written_output():
            getattr(importlib.import_module(module), name)(args)


@contextmanager
def written_output() -> Iterator[None]:
    """
    Write what is still to be written: Python would do so when it ends, too late to say what went wrong.

    :raises OSError: it cannot be written.
    """
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


@contextmanager
def _quiet(verbose: bool) -> Iterator[None]:
    """Leave out what tasks log as they work: it would stand among the lines that were asked for."""
    log = logging.getLogger("airflow_provider_phlo")
    level = log.level
    if not verbose:
        log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def exit_with(command: str, message: str, code: int) -> NoReturn:
    """End the process with ``code``, and say why on stderr."""
    print(f"{f'phlo {command}'.rstrip()}: {message}", file=sys.stderr)
    raise SystemExit(code)


@contextmanager
def exit_on_error(command: str, *, refused: int = REFUSED, failed: int = FAILED, statement: str = "") -> Iterator[None]:
    """
    End the process on an error, with its message on stderr: no traceback, and no value of the data.

    With ``--verbose``, the errors that it came from and the lines of code follow, without values too.

    :param refused: the exit code when what was asked for cannot be done (``ConfigurationError``).
    :param failed: the exit code when it went wrong (any other error).
    :param statement: the SQL that was asked for: an error of its engine may name what it names.
    """
    try:
        yield
    except BrokenPipeError as error:
        if not _is_read_no_more(sys.stdout):
            _exit(command, describe(error, statement), error, failed)
        raise SystemExit(_READ_NO_MORE) from None
    except ConfigurationError as error:
        _exit(command, str(error), error, refused)
    except Exception as error:  # noqa: BLE001 - an error of a library is described, never shown
        _exit(command, describe(error, statement), error, failed)
    except KeyboardInterrupt:
        exit_with(command, "interrupted.", _INTERRUPTED)


def _is_read_no_more(output: TextIO) -> bool:
    """Return whether nobody reads what is printed, and see to it that Python does not try again when it ends."""
    asked = select.poll()
    asked.register(output.fileno(), 0)
    if not asked.poll(0):  # a pipe whose other end is closed is in error
        return False
    discard(output)
    return True


def discard(output: TextIO) -> None:
    """Let what is still printed go nowhere: its reader (head, less) has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def _exit(command: str, message: str, error: Exception, code: int) -> NoReturn:
    if lost := _lost_output():
        message = f"the output cannot be written: {lost}." if isinstance(error, OSError) else message
    more = "".join(f"\n  {line}" for line in trace(error)) if _verbose.get() else ""
    exit_with(command, message + more, code)


def _lost_output() -> str:
    """Return why what was printed cannot be written (a full disk); then Python does not try again when it ends."""
    if sys.stdout is None:
        return ""
    try:
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        return error.strerror or str(error)
    return ""


def _check_text(given: dict[str, Any]) -> None:
    """Refuse bytes that are not text: a shell passes them on, and no library takes them."""
    for name, value in given.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)):
                raise ConfigurationError(f"{name.replace('_', '-')}: this is not valid UTF-8.")
