"""The versions of what is stored as JSON and read again later, perhaps by another release (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError

VERSION_FIELD = "version"


def require_known_version(content: Mapping[str, Any], newest: int, what: str) -> None:
    """
    Refuse to read what a newer release has written.

    :param content: the stored object; one without a version is of version 1, written before versions were.
    :param newest: the newest version that this release reads.
    :param what: names the stored object in the message.
    :raises ConfigurationError: if the object is newer.
    """
    version = content.get(VERSION_FIELD, 1)
    if version > newest:
        raise ConfigurationError(
            f"{what} has format version {version}, and this release of airflow-provider-phlo reads versions up to "
            f"{newest}: upgrade it to the release that wrote it, or a later one."
        )
