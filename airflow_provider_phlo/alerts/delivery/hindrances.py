"""Why a destination gets nothing, found without sending anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_phlo.alerts.delivery.destinations import make_notifier
from airflow_provider_phlo.alerts.delivery.messages import content_of_test
from airflow_provider_phlo.alerts.rules.configuration import Configuration
from airflow_provider_phlo.exceptions import ConfigurationError


@dataclass(frozen=True)
class Hindrance:
    """
    What keeps messages from a destination.

    :param off: whether it is off on purpose: the variable of its address is not set.
    """

    destination: str
    text: str
    off: bool = False


def hindrances(configuration: Configuration, now: datetime) -> Iterator[Hindrance]:
    """Yield the destinations that are off, and those whose notifier is not there or does not take its arguments."""
    for name, destination in configuration.destinations.items():
        if name in configuration.off:
            yield Hindrance(name, f"{name} is off: {configuration.off[name]} is not set.", off=True)
            continue
        try:
            make_notifier(name, destination, content_of_test(name, configuration.base_url, now))
        except ConfigurationError as error:
            yield Hindrance(name, str(error))
