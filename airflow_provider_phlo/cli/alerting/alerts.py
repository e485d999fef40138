"""``phlo alerts``: what is wrong now, and who is notified."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.alerts import Configuration, read_configuration
from airflow_provider_phlo.alerts.delivery.hindrances import hindrances
from airflow_provider_phlo.alerts.delivery.messages import content_of_test
from airflow_provider_phlo.alerts.delivery.notifying import held_because, is_silenced
from airflow_provider_phlo.alerts.delivery.sending import deliver_tests
from airflow_provider_phlo.alerts.incidents import handling, store
from airflow_provider_phlo.alerts.incidents.state import Incident, IncidentState, MessageState, State
from airflow_provider_phlo.alerts.rules.configuration import Rule
from airflow_provider_phlo.alerts.rules.selectors import Selectors, fits
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.environment import project_folder
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.terms import ALERT_RULES
from airflow_provider_phlo.watching.recording import last_round

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

# the watcher records that it has looked once an hour
_LONG_AGO = timedelta(hours=2)
_INCIDENTS = [
    "id", "state", "severity", "rule", "table", "what", "since", "notified", "silenced", "held",
    "acknowledged_by", "message",
]  # fmt: skip
_RULES = ["rule", "kind", "selects", "to", "escalates_to", "when"]
_SILENCES = ["rule", "table", "until", "by", "reason"]
_MESSAGES = ["at", "status", "rule", "table", "destination", "state", "attempts", "sent_at", "error", "title"]


def incidents(args: argparse.Namespace) -> None:
    """
    Print what is not over, the rules, or what is silenced; then why messages might not arrive.

    :raises ConfigurationError: the configuration is wrong, so that nobody is notified; what is wrong is printed first.
    """
    if args.rules:
        found = _configuration()
        show(Result(_RULES, [_rule_row(rule, found) for rule in found.rules]), args.output)
        _note(_hindrances(found))
        return
    catalog, now = open_catalog(), datetime.now(UTC)
    state = store.read_state(catalog)
    if args.silences:
        _show_silences(state, now, args.output)
        return
    live = [each for each in state.incidents.values() if each.state != IncidentState.RESOLVED]
    live.sort(key=lambda each: (each.severity != "error", each.since))
    try:
        configuration = read_configuration(project_folder(), base_url=settings.airflow_url())
    except ConfigurationError:
        _show_incidents(live, state, None, args.output)
        raise
    _show_incidents(live, state, configuration, args.output)
    if configuration is None:
        _note([f"there is no {project_folder() / ALERT_RULES}: nobody is notified."])
    else:
        _note([*_hindrances(configuration), *_not_watched(catalog, now)])


def _show_incidents(live: list[Incident], state: State, configuration: Configuration | None, output: str) -> None:
    now = datetime.now(UTC)
    rows = [
        _incident_row(
            each,
            is_silenced(each, state, now),
            held_because(each, state, configuration, now) if configuration else "",
            _unreached(each, state),
        )
        for each in live
    ]
    show(Result(_INCIDENTS, rows), output)


def _note(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"phlo alerts: {note}", file=sys.stderr)


def _hindrances(configuration: Configuration) -> Iterator[str]:
    return (each.text for each in hindrances(configuration, datetime.now(UTC)))


def _not_watched(catalog: Catalog, now: datetime) -> Iterator[str]:
    """Yield that nobody watches, and so nobody is notified."""
    last = last_round(catalog)
    cure = "only phlo_watch (phlo watch in a terminal) finds out and notifies: see that its DAG runs."
    if last is None:
        yield f"no round of the watcher is recorded; {cure}"
    elif now - last > _LONG_AGO:
        hours = words.plural(int((now - last).total_seconds() // 3600), "hour")
        yield f"the watcher's last recorded round was {hours} ago; {cure}"


def _unreached(incident: Incident, state: State) -> list[str]:
    """Return who has a message about an incident waiting, and has got none yet."""
    about = [each for each in state.messages.values() if incident.id in each.incidents]
    reached = {each.destination for each in about if each.state == MessageState.SENT}
    waiting = (each.destination for each in about if each.state in (MessageState.WAITING, MessageState.GIVEN_UP))
    return sorted({*waiting} - reached)


def _incident_row(incident: Incident, silenced: bool, held: str, unreached: Sequence[str]) -> tuple[Any, ...]:
    return (
        incident.id,
        "recovering" if incident.recovering_since else str(incident.state),
        str(incident.severity),
        incident.rule,
        incident.table,
        incident.subject,
        incident.since,
        [name for name in incident.notified_to if name not in unreached],
        silenced or None,
        held or (f"not delivered yet: {', '.join(unreached)}" if unreached else None),
        incident.acknowledged_by,
        incident.message,
    )


def _rule_row(rule: Rule, configuration: Configuration) -> tuple[Any, ...]:
    selects = {
        name: [str(value) for value in getattr(rule, name)] for name in Selectors.model_fields if getattr(rule, name)
    }
    to = rule.to or ["by routes"] if configuration.routes else rule.to
    escalates = rule.escalate.to if rule.escalate else None
    return rule.name, str(rule.kind), selects, to, escalates, rule.when.text if rule.when else None


def tests(args: argparse.Namespace) -> None:
    """Send a test message to destinations; the exit code is 1 if one did not take it."""
    configuration, now = _configuration(), datetime.now(UTC)
    unknown = [name for name in args.destinations if name not in configuration.destinations]
    if unknown or not configuration.destinations:
        known = ", ".join(configuration.destinations) or "none"
        hint = did_you_mean(unknown[0], configuration.destinations) if unknown else ""
        what = f"There is no destination {unknown[0]}" if unknown else f"{ALERT_RULES} has no destination"
        raise ConfigurationError(f"{what}.{hint} There are: {known}.")
    chosen = args.destinations or list(configuration.destinations)
    contents = {name: content_of_test(name, configuration.base_url, now) for name in chosen}
    if args.dry_run:
        wrong = {each.destination: each for each in hindrances(configuration, now) if not each.off}
        usable = {name: contents[name] for name in chosen if name not in wrong}
        if args.output == "json":
            print(json.dumps([{"destination": name, **content} for name, content in usable.items()], indent=2))
        else:
            print("".join(f"to {name}:\n{content['text']}\n\n" for name, content in usable.items()), end="")
        if unusable := [wrong[name].text for name in chosen if name in wrong]:
            exit_with("alerts test", "\n".join(unusable), FAILED)
        return
    began = time.monotonic()
    off = {name: f"off: {configuration.off[name]} is not set" for name in chosen if name in configuration.off}
    errors = off | deliver_tests({name: each for name, each in contents.items() if name not in off}, configuration)
    rows = [(name, errors[name] is None, errors[name]) for name in chosen]
    show(Result(["destination", "arrived", "error"], rows), args.output)
    if args.output == "table":
        print(f"in {time.monotonic() - began:.1f} s")
    _note(_not_watched(open_catalog(), now))
    if any(errors.values()):
        raise SystemExit(FAILED)


def silences(args: argparse.Namespace) -> None:
    """Silence a rule, or end that."""
    now = datetime.now(UTC)
    if args.end == (args.period is not None):
        raise ConfigurationError("Say for how long (--for 2h), or --end.")
    _require_rule(args.rule)
    catalog = open_catalog()
    if args.period:
        _note(_unknown_table(args.table, catalog))
        handling.silence(catalog, args.rule, args.table, now + args.period, now, by=_user(), reason=args.reason)
    elif not handling.end_silence(catalog, args.rule, args.table, now):
        what = f"{args.rule}{f' of {args.table}' if args.table else ''}"
        raise ConfigurationError(f"{what} is not silenced: phlo alerts list --silences shows what is.")
    _show_silences(store.read_state(catalog), now, args.output)


def _show_silences(state: State, now: datetime, output: str) -> None:
    active = [each for each in state.silences if each.until > now]
    rows = [(each.rule, each.table, each.until.replace(microsecond=0), each.by, each.reason) for each in active]
    show(Result(_SILENCES, rows), output)


def acknowledgements(args: argparse.Namespace) -> None:
    """Acknowledge open incidents."""
    found = handling.acknowledge(open_catalog(), args.incident, args.table, datetime.now(UTC), by=_user())
    if not found:
        raise ConfigurationError(f"No open incident is {args.incident}, or it is acknowledged: see phlo alerts list.")
    rows = [(each.id, each.rule, each.table, each.subject, each.since) for each in found]
    show(Result(["acknowledged", "rule", "table", "what", "since"], rows), args.output)


def messages(args: argparse.Namespace) -> None:
    """Print messages, the newest first."""
    since = datetime.now(UTC) - timedelta(days=args.days)
    found = [each for each in store.read_state(open_catalog()).messages.values() if each.created_at >= since]
    found.sort(key=lambda each: each.created_at, reverse=True)
    rows = [
        (
            each.created_at,
            str(each.status),
            each.rule,
            each.table,
            each.destination,
            str(each.state),
            each.attempts,
            each.sent_at,
            each.error,
            each.content.get("title"),
        )
        for each in found[: args.limit]
    ]
    show(Result(_MESSAGES, rows), args.output)


def _configuration() -> Configuration:
    found = read_configuration(project_folder(), base_url=settings.airflow_url())
    if found is None:
        raise ConfigurationError(f"There is no {project_folder() / ALERT_RULES}: docs/alerts.md shows what it says.")
    return found


def _require_rule(pattern: str) -> None:
    """Refuse a name that is not a rule's: a typing error would silence nothing."""
    names = [rule.name for rule in _configuration().rules]
    if not any(fits(pattern, name) for name in names):
        raise ConfigurationError(
            f"No rule is called {pattern}.{did_you_mean(pattern, names)} There are: {', '.join(names) or 'none'}."
        )


def _unknown_table(pattern: str | None, catalog: Catalog) -> Iterator[str]:
    """Yield that a silence is about no table that there is, nor one with an incident: it may be a typing error."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables

    if pattern is None:
        return
    named = {each.table for each in store.read_state(catalog).incidents.values() if each.table}
    tables = sorted(named | set(all_tables(catalog)))
    if not any(fits(pattern, table) for table in tables):
        yield f"there is no table {pattern} now; it is silenced all the same.{did_you_mean(pattern, tables)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
