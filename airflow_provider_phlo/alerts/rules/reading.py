"""Read ``include/alerting/config.yaml``: every problem is named with file, line and key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_phlo.alerts.rules.configuration import (
    SLACK,
    SLACK_CHANNEL_VARIABLE,
    SLACK_VARIABLE,
    WEBHOOK,
    Configuration,
)
from airflow_provider_phlo.alerts.rules.secrets import literal_secrets
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.terms import ALERT_RULES
from airflow_provider_phlo.yaml_lines import Document, interpolate
from airflow_provider_phlo.yaml_models import checked

# arguments that say where messages go: empty, nothing can be sent
_ADDRESS = re.compile(r"(?:^|_)(?:ur[il]|webhook|to|conn_id|key|token)$")
_OPTIONAL = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):-\}")


def read_configuration(
    folder: Path, variables: Mapping[str, str] | None = None, *, base_url: str = "", checks_sql: bool = True
) -> Configuration | None:
    """
    Return what a project says about alerts; None if it has no such file.

    :param folder: the project's.
    :param variables: for ``${NAME}`` in its texts; the environment when None.
    :param base_url: Airflow's address, unless the file has it.
    :param checks_sql: whether to parse the SQL of metrics: only those who run it need to.
    :raises ConfigurationError: the file is wrong: every problem with file, line and key.
    """
    path = folder / ALERT_RULES
    if not path.is_file():
        return None
    return read_file(path, os.environ if variables is None else variables, base_url=base_url, checks_sql=checks_sql)


def read_file(
    path: Path, variables: Mapping[str, str], *, base_url: str = "", checks_sql: bool = True
) -> Configuration:
    """Return what one file says; see :func:`read_configuration`."""
    document = Document(path)
    problems = [
        f"{document.where(key)}: {'.'.join(key)} {problem}" for key, problem in literal_secrets(document.values)
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))
    written = document.values
    document.values = interpolate(document.values, variables, lambda key: f"{document.where(key)}: {'.'.join(key)}")
    _add_slack(document.values, variables)
    found = checked(document, Configuration)
    found = found.with_off(dict(_off(written, found)))
    wrong = [*_wrong_names(found), *(_wrong_sql(found) if checks_sql else ())]
    problems = [f"{document.where(key)}: {problem}" for key, problem in wrong]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found if found.base_url or not base_url else found.model_copy(update={"base_url": base_url})


def _add_slack(values: dict[str, Any], variables: Mapping[str, str]) -> None:
    destinations = values.setdefault("destinations", {})
    if not variables.get(SLACK_VARIABLE) or not isinstance(destinations, dict) or SLACK in destinations:
        return
    arguments = {"url": variables[SLACK_VARIABLE], "form": "slack"}
    if channel := variables.get(SLACK_CHANNEL_VARIABLE):
        arguments["channel"] = channel
    destinations[SLACK] = {"notifier": WEBHOOK, "arguments": arguments}


def _off(written: Any, found: Configuration) -> Iterator[tuple[str, str]]:
    """Yield the destinations whose address is empty, as the file lets it be: ``${NAME:-}``; and the variable."""
    for name in written.get("destinations") or ():
        destination, arguments = found.destinations[name], written["destinations"][name] or {}
        for key, text in (arguments.get("arguments") or {}).items():
            optional = _OPTIONAL.search(text) if isinstance(text, str) and _ADDRESS.search(key) else None
            if optional and not str(destination.arguments[key]).strip():
                yield name, optional[1]


def _wrong_names(found: Configuration) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield names that are there twice or lead nowhere, and rules whose incidents nobody would hear of."""
    names = [rule.name for rule in found.rules]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield ("rules", str(index), "name"), f"the rule {name} is there twice."
    for key, destination in _named_destinations(found):
        if destination not in found.destinations:
            known = list(found.destinations)
            hint = did_you_mean(destination, known) or f" There are {', '.join(known) or 'none'}."
            unset = f" Or set {SLACK_VARIABLE}." if destination == SLACK else ""
            yield key, f"{'.'.join(key)}: there is no destination {destination}.{hint}{unset}"
    if found.routes and found.routes[-1].selects_all:
        return
    for index, rule in enumerate(found.rules):
        if not rule.to:
            yield (
                ("rules", str(index)),
                f"rules.{index}: nobody hears of {rule.name}: write to, or a last route without selectors.",
            )


def _wrong_sql(found: Configuration) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield metrics whose SQL does more than read, or cannot be parsed."""
    for index, rule in enumerate(found.rules):
        if rule.kind != RuleKind.METRIC:
            continue
        from airflow_provider_phlo.alerts.rules.metric_sql import require_readable

        try:
            require_readable(rule)
        except ConfigurationError as error:
            key = "sql" if rule.sql else "when"
            yield ("rules", str(index), key), f"rules.{index}.{key}: {error}"


def _named_destinations(found: Configuration) -> Iterator[tuple[tuple[str, ...], str]]:
    for index, rule in enumerate(found.rules):
        for name in rule.to:
            yield ("rules", str(index), "to"), name
        for name in rule.escalate.to if rule.escalate else ():
            yield ("rules", str(index), "escalate", "to"), name
    for index, route in enumerate(found.routes):
        for name in route.to:
            yield ("routes", str(index), "to"), name
