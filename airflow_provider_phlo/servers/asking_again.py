"""Ask a server again that is busy, or not there for a moment; no longer than a command or a task may wait."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_phlo.exceptions import ServerUnavailableError
from airflow_provider_phlo.servers.transport import Answer

ATTEMPTS = 5
#: Seconds before the second attempt; each later pause is twice as long, up to the longest.
PAUSE, LONGEST_PAUSE = 0.5, 20.0
#: Seconds in all, for one request; a server that asks for more is asked another day.
MOST_WAITING = 120.0
_BUSY = (408, 425, 429)


def is_busy(answer: Answer) -> bool:
    """Return whether the same request may get another answer later."""
    return answer.status >= 500 or answer.status in _BUSY


def ask(
    send: Callable[[], Answer], problem: Callable[[Answer], str], setting: str, sleep: Callable[[float], None]
) -> Answer:
    """
    Send a request until it is answered by anything but that the server is busy.

    :param send: sends it once; it does no harm to send it twice.
    :param problem: what messages say of an answer of a busy server.
    :param setting: where the server's address is set, for messages.
    :param sleep: pauses for that many seconds.
    :raises ServerUnavailableError: every attempt failed, or the server asks to wait for longer than that.
    """
    waited = 0.0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = send()
            if not is_busy(answer):
                return answer
            reason, asked = problem(answer), answer.retry_after or 0.0
        except ServerUnavailableError as error:
            reason, asked = str(error), 0.0
        pause = max(asked, min(PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))
        if attempt == ATTEMPTS or waited + pause > MOST_WAITING:
            break
        waited += pause
        sleep(pause)
    again = f" It asks to wait {asked:.0f} s." if asked else ""
    raise ServerUnavailableError(
        f"{reason.rstrip('.')}, after {attempt} attempts.{again} Is it up, and is its address right ({setting})?"
    )
