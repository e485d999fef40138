"""
Send the messages that wait: each is claimed by a commit before it is sent, and marked by another one after.

Destinations are served side by side, the messages of one destination one after the other, oldest first. One that fails
or does not answer is left alone for a while, longer each time, and keeps nobody else waiting.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from airflow_provider_phlo.alerts.delivery.destinations import DeliveryError, notifier_class, send
from airflow_provider_phlo.alerts.incidents.state import Message, MessageState, State, Status
from airflow_provider_phlo.alerts.rules.configuration import Configuration, Destination
from airflow_provider_phlo.alerts.rules.verdicts import Severity
from airflow_provider_phlo.exceptions import ConfigurationError

#: How long a message is nobody else's to send: longer than a delivery takes and clocks differ.
LEASE = timedelta(minutes=5)
#: How long one round sends at most; what is left waits for the next.
LONGEST = 60.0
#: After this time nobody tries any more.
GIVE_UP = timedelta(days=3)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
_LONGEST_WAIT = timedelta(days=1)
_LOOK_SECONDS = 0.05
# what has arrived is passed on this often while a destination has more to take
_TELL_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """
    What came of a message.

    :param error: None if it has arrived.
    :param wait: for how many seconds the destination is to be left alone, where it said so.
    :param tried: whether it was begun; otherwise another message to the same destination has failed.
    :param refused: whether it was this message that was refused: another one may succeed.
    :param final: whether there is nothing to try again.
    """

    message: Message
    error: str | None = None
    wait: float | None = None
    tried: bool = True
    refused: bool = False
    final: bool = False


def new_claimant() -> str:
    """Return a name for who sends: this process, this time."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def claim(state: State, claimant: str, now: datetime, off: Container[str] = ()) -> State:
    """
    Return the state in which the messages that are due, and that nobody else is sending, are the claimant's.

    Nobody hears that something is over before they have heard of it: a message waits for those of its rule and table
    that were committed before it, but not for one that its destination refuses.

    :param off: destinations that this process cannot send to.
    """
    claimed, held, resting = [], set(), _resting(state, now)
    for message in _in_order(state):
        is_due = message.due_at <= now and message.destination not in resting and message.destination not in off
        if is_due and not _is_claimed(message, now) and message.line not in held:
            claimed.append(replace(message, claimed_by=claimant, claimed_until=now + LEASE))
        elif not message.refused:
            held.add(message.line)
    return state.with_messages(*claimed)


def claimed(state: State, claimant: str) -> list[Message]:
    """Return the messages that a claimant is to send, in their order."""
    return [each for each in _in_order(state) if each.claimed_by == claimant]


def _resting(state: State, now: datetime) -> set[str]:
    """Return the destinations that have failed and are left alone for now, by new messages too."""
    again: dict[str, datetime] = {}
    for each in _in_order(state):
        if each.error and not each.refused:
            again[each.destination] = min(again.get(each.destination, each.due_at), each.due_at)
    return {name for name, at in again.items() if at > now}


def _in_order(state: State) -> list[Message]:
    waiting = (each for each in state.messages.values() if each.state == MessageState.WAITING)
    return sorted(waiting, key=lambda each: (each.number, each.created_at, each.id))


def _is_claimed(message: Message, now: datetime) -> bool:
    return message.claimed_until is not None and message.claimed_until > now


def settle(state: State, outcomes: Iterable[Outcome], claimant: str, now: datetime) -> State:
    """Return the state in which it is written down what came of messages."""
    changed, outcomes = [], list(outcomes)
    for outcome in outcomes:
        message = state.messages.get(outcome.message.id)
        if message is None or message.state != MessageState.WAITING:
            continue
        # what has arrived has arrived, though another may have claimed it meanwhile
        if outcome.error is None or message.claimed_by == claimant:
            changed.append(_settled(message, outcome, now))
    return _woken(state.with_messages(*changed), outcomes, now)


def _woken(state: State, outcomes: Sequence[Outcome], now: datetime) -> State:
    """Return the state in which what waits for destinations that work again is due."""
    failing = {each.message.destination for each in outcomes if each.error is not None and not each.refused}
    working = {each.message.destination for each in outcomes if each.error is None} - failing
    waiting = (each for each in _in_order(state) if each.destination in working and each.error and not each.refused)
    return state.with_messages(*(replace(each, due_at=min(each.due_at, now)) for each in waiting))


def _settled(message: Message, outcome: Outcome, now: datetime) -> Message:
    free = replace(
        message,
        claimed_by="",
        claimed_until=None,
        attempts=message.attempts + outcome.tried,
        refused=outcome.refused,
    )
    if outcome.error is None:
        return replace(free, state=MessageState.SENT, sent_at=now, error="")
    pause = min(_FIRST_PAUSE * 2 ** min(free.attempts, 10), _LONGEST_PAUSE)
    if outcome.wait is not None:
        pause = min(max(timedelta(seconds=min(outcome.wait, 1e6)), _FIRST_PAUSE), _LONGEST_WAIT)
    if outcome.final or now - message.created_at >= GIVE_UP:
        return replace(free, state=MessageState.GIVEN_UP, error=outcome.error)
    return replace(free, due_at=now + pause, error=outcome.error)


def deliver(
    messages: Sequence[Message], configuration: Configuration, longest: float = LONGEST
) -> Iterator[list[Outcome]]:
    """
    Send messages, and yield what came of them as it becomes known; never raises for a destination.

    :param longest: how many seconds this takes at most.
    """
    by_destination: dict[str, list[Message]] = {}
    for message in messages:
        by_destination.setdefault(message.destination, []).append(message)
    workers = [
        _Worker(name, configuration.destinations[name], own)
        for name, own in by_destination.items()
        if name in configuration.destinations
    ]
    for name in by_destination.keys() & configuration.destinations.keys():
        with suppress(ConfigurationError):  # which is what comes of its messages
            notifier_class(name, configuration.destinations[name].notifier)  # to import it takes none of their time
    for worker in workers:
        worker.start()
    gone = [
        Outcome(message, f"the destination {name} is not configured any more", tried=False, final=True)
        for name, own in by_destination.items()
        if name not in configuration.destinations
        for message in own
    ]
    if gone:
        yield gone
    began = yielded = time.monotonic()
    while workers:
        busy = [worker for worker in workers if worker.is_busy(began + longest)]
        now = time.monotonic()
        if len(busy) < len(workers) or now - yielded > _TELL_SECONDS:
            yielded = now
            if found := [outcome for worker in workers for outcome in worker.news(worker not in busy)]:
                yield found
        workers = busy
        if busy:
            time.sleep(_LOOK_SECONDS)


class _Worker(threading.Thread):
    """Sends the messages of one destination; a notifier that never returns keeps nothing but this thread."""

    def __init__(self, name: str, destination: Destination, messages: Sequence[Message]) -> None:
        super().__init__(name=f"phlo-alerts-{name}", daemon=True)
        self._destination_name = name
        self._destination = destination
        self._messages = messages
        self._done: list[Outcome] = []
        self._began = time.monotonic()
        self._abandoned = ""
        self._told = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        for message in self._messages:
            with self._lock:
                if self._abandoned:
                    return
                self._began = time.monotonic()
            outcome, goes_on = self._try(message)
            with self._lock:
                if self._abandoned:  # it was counted as failed
                    return
                self._done.append(outcome)
            if not goes_on:
                return

    def _try(self, message: Message) -> tuple[Outcome, bool]:
        try:
            send(self._destination_name, self._destination, message.content, time.time())
        except DeliveryError as error:
            return Outcome(message, str(error), error.wait, refused=error.of_message), error.of_message
        except ConfigurationError as error:
            return Outcome(message, str(error)), False
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are to be served
            return Outcome(message, type(error).__name__), False
        return Outcome(message), True

    def is_busy(self, deadline: float) -> bool:
        """Return whether to wait for it; one that takes too long is not waited for any more."""
        with self._lock:
            if not self.is_alive() or self._abandoned:
                return False
            now, allowed = time.monotonic(), self._destination.timeout.total_seconds()
            # requests may take their time for the connection and again for the answer
            if now - self._began > 2 * allowed + 1 or now > deadline:
                self._abandoned = f"no answer within {now - self._began:.0f} s"
            return not self._abandoned

    def news(self, has_ended: bool) -> list[Outcome]:
        """Return what came of its messages and was not returned before; when it has ended, of all the others."""
        found = self._outcomes() if has_ended else list(self._done)
        new, self._told = found[self._told :], len(found)
        return new

    def _outcomes(self) -> list[Outcome]:
        """Return what came of all messages: those that were not begun fail as the one before them."""
        done = list(self._done)
        left = self._messages[len(done) :]
        if not left:
            return done
        if self._abandoned:
            return [*done, Outcome(left[0], self._abandoned), *_not_tried(left[1:], self._abandoned, None)]
        last = done[-1] if done else Outcome(left[0], "it was not tried")
        return [*done, *_not_tried(left, last.error or "it was not tried", last.wait)]


def _not_tried(messages: Sequence[Message], error: str, wait: float | None) -> list[Outcome]:
    return [Outcome(message, error, wait, tried=False) for message in messages]


def unsent(outcomes: Iterable[Outcome]) -> Mapping[str, int]:
    """Return how many messages could not be sent, by destination."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            found[outcome.message.destination] = found.get(outcome.message.destination, 0) + 1
    return found


def deliver_tests(contents: Mapping[str, Mapping[str, object]], configuration: Configuration) -> dict[str, str | None]:
    """
    Send each destination one message that is not about an incident; return for each why it did not arrive, or None.

    :param contents: what to send, by destination.
    """
    now = datetime.now(UTC)
    messages = [
        Message(
            id=name,
            destination=name,
            status=Status.OPENED,
            rule="test",
            table=None,
            severity=Severity.WARN,
            incidents=(),
            content=content,
            created_at=now,
            due_at=now,
        )
        for name, content in contents.items()
    ]
    return {each.message.destination: each.error for found in deliver(messages, configuration) for each in found}
