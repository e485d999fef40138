"""
Destinations: Airflow notifiers by import path, their arguments made from templates.

An error of a notifier is passed on as its kind and its HTTP status, never as its text: it may hold the address, which
is the secret of many webhooks.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow_provider_phlo.alerts.rules.configuration import Destination
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.sources.headers import retry_after

# what parameters of these names get when a destination does not say it: those of the notifiers of Airflow's providers
_BY_NAME = {
    "content": None,
    "text": "text",
    "message": "text",
    "body": "text",
    "description": "text",
    "subject": "title",
    "title": "title",
    "summary": "title",
    "html_content": "html",
    "dedup_key": "key",
    "action": "action",
}
# PagerDuty's words
_SEVERITIES = {"error": "error", "warn": "warning"}
_MOST_OPSGENIE = 130
# Airflow's, by name: nothing of Airflow is imported here
_NO_CONNECTION = "AirflowNotFoundException"


class DeliveryError(TransientError):
    """
    A message could not be delivered.

    Cause: the destination did not answer in time, refused the message, or its certificate is not trusted.

    Cure: none is needed if a later round succeeds; ``phlo alerts history`` shows what is waiting, and why.

    :param wait: for how many seconds the destination is to be left alone, where it said so.
    :param of_message: whether another message may succeed at once.
    """

    def __init__(self, message: str, *, wait: float | None = None, of_message: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.of_message = of_message


def send(name: str, destination: Destination, content: Mapping[str, Any], now: float) -> None:
    """
    Send a message.

    :param content: what it says: :func:`~.messages.content_of`.
    :param now: the time, in epoch seconds: servers name dates until which they are to be left alone.
    :raises DeliveryError: it did not arrive, as far as is known.
    :raises ConfigurationError: the notifier cannot be imported, or does not take these arguments.
    """
    notifier = make_notifier(name, destination, content)
    try:
        # templates are rendered already: rendered twice, a check could be named so that it reads variables
        notifier.notify({"alert": dict(content)})
    except (DeliveryError, ConfigurationError):
        raise
    except Exception as error:  # noqa: BLE001 - of any provider's notifier; its text may hold a secret
        if type(error).__name__ == _NO_CONNECTION:
            named = [str(value) for key, value in destination.arguments.items() if key.endswith("conn_id")]
            raise ConfigurationError(f"There is no connection {' or '.join(named) or 'of this name'}.") from None
        raise _described(error, now) from None


def make_notifier(name: str, destination: Destination, content: Mapping[str, Any]) -> Any:
    """Return the notifier of a destination with the arguments that it has for this message; see :func:`send`."""
    kind = notifier_class(name, destination.notifier)
    arguments = _defaults(kind, content, destination) | _rendered(name, destination.arguments, content)
    try:
        return kind(**arguments)
    except TypeError:
        takes = ", ".join(each for each in inspect.signature(kind).parameters if each not in ("self", "kwargs"))
        given = ", ".join(key for key in arguments if key not in inspect.signature(kind).parameters)
        refused = f", not {given}" if given else f", and others of these than it has: {', '.join(arguments) or 'none'}"
        raise ConfigurationError(f"Destination {name}: {destination.notifier} takes {takes}{refused}.") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"Destination {name}: {error}") from None
    except Exception as error:  # noqa: BLE001 - of any provider's notifier; its text may hold a secret
        raise ConfigurationError(
            f"Destination {name}: {destination.notifier} does not take its arguments ({type(error).__name__})."
        ) from None


def notifier_class(name: str, path: str) -> Any:
    """
    Return the notifier of this import path.

    :raises ConfigurationError: it cannot be imported, or is not a notifier.
    """
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ConfigurationError(
            f"Destination {name}: {path} cannot be imported: correct it, or install the provider that has it."
        ) from None
    if not callable(getattr(found, "notify", None)):
        raise ConfigurationError(f"Destination {name}: {path} is not an Airflow notifier.")
    return found


def _defaults(kind: Any, content: Mapping[str, Any], destination: Destination) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters
    found = {
        parameter: dict(content) if source is None else content[source]
        for parameter, source in _BY_NAME.items()
        if parameter in parameters
    }
    if "timeout" in parameters:
        found["timeout"] = destination.timeout.total_seconds()
    if "dedup_key" in parameters and "severity" in parameters:
        found["severity"] = _SEVERITIES[content["severity"]]
    if "payload" in parameters and kind.__module__.startswith("airflow.providers.opsgenie"):
        found["payload"] = {
            "message": content["title"][:_MOST_OPSGENIE],
            "alias": content["key"],
            "description": content["text"],
        }
    return found


def _rendered(name: str, arguments: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _render(name, key, value, content) for key, value in arguments.items()}


def _render(name: str, key: str, value: Any, content: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {inner: _render(name, f"{key}.{inner}", each, content) for inner, each in value.items()}
    if isinstance(value, list):
        return [_render(name, key, each, content) for each in value]
    if not isinstance(value, str) or not ("{{" in value or "{%" in value):
        return value
    from jinja2 import TemplateError

    try:
        return _environment(key.startswith("html")).from_string(value).render(content)
    except TemplateError as error:
        problem = (error.message or type(error).__name__).rstrip(".")
        raise ConfigurationError(
            f"Destination {name}, argument {key}: the template cannot be used: {problem}."
        ) from None
    except Exception as error:  # noqa: BLE001 - of an expression in a template
        raise ConfigurationError(
            f"Destination {name}, argument {key}: the template cannot be used ({type(error).__name__})."
        ) from None


@cache
def _environment(escapes: bool) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=escapes)


def _described(error: Exception, now: float) -> DeliveryError:
    """Return what went wrong, without the text of the error."""
    response = getattr(error, "response", None)
    # not of its class: Airflow's exceptions have one though nobody has answered
    status = _number(getattr(response, "status_code", None), vars(error).get("status_code"))
    status = status or _number(getattr(error, "smtp_code", None))
    headers = getattr(response, "headers", None)
    wait = retry_after(headers, now) if isinstance(headers, Mapping) else None
    said = f", it answered {status}" if status else ""
    return DeliveryError(f"{type(error).__name__}{said}", wait=wait)


def _number(*values: Any) -> int | None:
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
