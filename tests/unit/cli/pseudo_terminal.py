"""A terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Sequence


def shown_by_terminal(command: Sequence[str], columns: int) -> str:
    """Return what a program writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env={**environment, "TERM": "xterm"}):
        os.close(theirs)
        written = b""
        # reading from a terminal that nobody writes to any more is an error on Linux
        try:
            while part := os.read(ours, 65_536):
                written += part
        except OSError:
            pass
    os.close(ours)
    return written.decode()
