"""
Run a plugin's code in a process of its own, with a limit: it may hang, crash, print, or end the program.

``python -m airflow_provider_phlo.extensions.apart`` is that process; it reads what to do from its standard input, and
writes its answer, a line of JSON, to the file descriptor that is its first argument.
"""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from airflow_provider_phlo.installed_plugins import Kind, Plugin

_ANSWER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Ended:
    """
    How a process of its own has ended.

    :param answer: what it said; None if it said nothing.
    :param problem: why it said nothing, in words.
    """

    answer: Mapping[str, Any] | None
    problem: str = ""


def run_apart(function: str, plugin: Plugin, seconds: float, **more: Any) -> Ended:
    """
    Call ``function`` with a plugin in a process of its own.

    :param function: ``module:function``; gets the plugin and ``more``, returns a mapping of JSON values.
    :param seconds: when it has not answered by then, it is ended, and what it has started too.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answer:
        try:
            child = subprocess.Popen(
                # -P: no module in the current folder takes the place of another
                [sys.executable, "-P", "-m", __name__, str(writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writer,),
                start_new_session=True,
            )
        finally:
            os.close(writer)
        try:
            assert child.stdin is not None
            order = {"function": function, "plugin": dataclasses.asdict(plugin), "more": more, "path": sys.path}
            _tell(child.stdin, order)
            text = _read(answer.fileno(), seconds)
        finally:
            _end(child)
    if text is None:
        return Ended(None, f"it had not ended after {seconds:g} s")
    try:
        return Ended(json.loads(text))
    except ValueError:
        return Ended(None, _last_word(child.returncode))


def _tell(pipe: Any, order: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError), pipe:
        pipe.write(json.dumps(order).encode())


def _read(descriptor: int, seconds: float) -> bytes | None:
    """Return a line, or what there is of one when nobody can write any more; None when the time has passed."""
    text, until = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as ready:
        ready.register(descriptor, selectors.EVENT_READ)
        while not text.endswith(b"\n") and len(text) < _ANSWER_BYTES:
            if not ready.select(max(0.0, until - time.monotonic())):
                return None
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            text += piece
    return text


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started; one that is ending by itself gets a moment for its exit code."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_word(code: int) -> str:
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"it ended its process (exit code {code})"


def main() -> None:
    """Do what the standard input says, and answer."""
    order = json.load(sys.stdin)
    sys.path[:] = order["path"]
    given = order["plugin"]
    plugin = Plugin(**{**given, "kind": Kind(given["kind"]), "api": tuple(given["api"])})
    module, _, name = order["function"].partition(":")
    answer = getattr(import_module(module), name)(plugin, **order["more"])
    with os.fdopen(int(sys.argv[1]), "wb") as out:
        out.write(json.dumps(answer).encode() + b"\n")
    # threads of the plugin's do not keep it
    os._exit(0)


if __name__ == "__main__":
    main()
