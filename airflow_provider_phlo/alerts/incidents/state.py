"""What is known of incidents: they, the messages about them that are still to be sent, and silences; plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, RunRef, Severity

#: Why an incident is resolved; for any other reason it is closed.
PASSED = "it has passed again"


class IncidentState(StrEnum):
    """How far an incident has come."""

    PENDING = "pending"
    OPEN = "open"
    RESOLVED = "resolved"


class Status(StrEnum):
    """What a message is about."""

    OPENED = "opened"
    REMINDER = "reminder"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    CLOSED = "closed"


class MessageState(StrEnum):
    """How far a message has come."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given up"
    DRY_RUN = "dry run"


class Key(NamedTuple):
    """What distinguishes incidents."""

    rule: str
    table: str | None
    subject: str


@dataclass(frozen=True)
class Incident:
    """
    Something that is wrong, or was.

    :param rule: the rule's name.
    :param since: since when it has been wrong.
    :param opens_at: until then nothing can be said of it; later that is wrong. None: something was said.
    :param seen_at: the moment of the last verdict that has changed something.
    :param recovering_since: since when it has been right again.
    :param flaps: how often it was wrong again before it was resolved, or soon after.
    :param notified: what those who were notified know; None if nobody was.
    :param notified_severity: how bad they think it is.
    :param rehearsed: whether that was a dry run: in truth nobody was notified.
    :param opened_notified_at: when they were last notified that it is wrong.
    """

    id: str
    rule: str
    kind: RuleKind
    table: str | None
    subject: str
    severity: Severity
    state: IncidentState
    message: str
    since: datetime
    seen_at: datetime
    opens_at: datetime | None = None
    opened_at: datetime | None = None
    recovering_since: datetime | None = None
    resolved_at: datetime | None = None
    resolved_because: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    run: RunRef | None = None
    flaps: int = 0
    notified: Status | None = None
    notified_at: datetime | None = None
    notified_severity: Severity | None = None
    notified_to: tuple[str, ...] = ()
    rehearsed: bool = False
    opened_notified_at: datetime | None = None
    escalated_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""

    @property
    def key(self) -> Key:
        """Return what distinguishes it from others."""
        return Key(self.rule, self.table, self.subject)

    @property
    def is_closed(self) -> bool:
        """Return whether it is over though nothing has passed: its rule is gone, or nobody has seen anything of it."""
        return self.state == IncidentState.RESOLVED and self.resolved_because != PASSED

    @property
    def is_live(self) -> bool:
        """Return whether time alone may change it: it is not over, or somebody has not heard that it is."""
        return self.state != IncidentState.RESOLVED or self.notified not in (None, Status.RESOLVED)


@dataclass(frozen=True)
class Message:
    """
    A message to one destination, about incidents of one rule and table.

    :param content: what it says, for templates; plain JSON.
    :param due_at: not to be sent before.
    :param number: messages are numbered as they are committed: clocks differ, and do not say which came first.
    :param refused: whether it was this message that its destination refused.
    :param claimed_by: who is sending it, until ``claimed_until``.
    :param error: why it could not be sent, without a secret.
    """

    id: str
    destination: str
    status: Status
    rule: str
    table: str | None
    severity: Severity
    incidents: tuple[str, ...]
    content: Mapping[str, Any]
    created_at: datetime
    due_at: datetime
    state: MessageState = MessageState.WAITING
    attempts: int = 0
    claimed_by: str = ""
    claimed_until: datetime | None = None
    sent_at: datetime | None = None
    error: str = ""
    number: int = 0
    refused: bool = False

    @property
    def line(self) -> tuple[str, str, str | None]:
        """Return what it shares with the messages that have to arrive in the order in which they were committed."""
        return self.destination, self.rule, self.table


@dataclass(frozen=True)
class Silence:
    """
    Nobody is notified meanwhile.

    :param rule: the rule's name, with * and ?.
    :param table: the table, with * and ?; None for all.
    """

    id: str
    rule: str
    table: str | None
    created_at: datetime
    until: datetime
    by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class State:
    """
    All of it.

    :param incidents: the newest of each key.
    :param past: those before them, which are over.
    """

    incidents: Mapping[Key, Incident] = field(default_factory=dict)
    past: tuple[Incident, ...] = ()
    messages: Mapping[str, Message] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()

    @property
    def live(self) -> int:
        """Return how many incidents time alone may change."""
        return sum(incident.is_live for incident in self.incidents.values())

    @property
    def waiting(self) -> int:
        """Return how many messages are still to be sent."""
        return sum(message.state == MessageState.WAITING for message in self.messages.values())

    def with_messages(self, *messages: Message) -> State:
        """Return the state with these messages, instead of those of the same id."""
        return replace(self, messages={**self.messages, **{message.id: message for message in messages}})


def identifier(*parts: object) -> str:
    """Return a short name for these parts: the same for the same parts."""
    return blake2b("\n".join(map(str, parts)).encode(), digest_size=8).hexdigest()
