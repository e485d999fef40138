"""``phlo.yaml``: what a project is called, and where its services answer."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.model_errors import words_for
from airflow_provider_phlo.services.postgres.metadata import MetadataDatabase
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.yaml_lines import Document, KeyPath, interpolate, merge

ENVIRONMENT_VARIABLE = "PHLO_ENVIRONMENT"
_OVERLAYS = "environments"
_NAME = r"^[a-z0-9][a-z0-9_-]*$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Service(_Section):
    """What ``phlo.yaml`` says of one service; what it leaves out has a default."""

    host: str = Field("127.0.0.1", description="Where this machine reaches it", min_length=1)
    internal_host: str | None = Field(None, description="Where other services reach it (its service_name)")
    port: int | None = Field(None, description="The port at host", ge=1, le=65_535)
    container_name: str | None = Field(None, description="Its container (by container_naming_pattern)")
    service_name: str | None = Field(None, description="Its name in docker-compose.yaml (the key)")


class Infrastructure(_Section):
    """The services around a project."""

    container_naming_pattern: str = Field(
        "{project}-{service}-1", description="Names of containers: {project} is the project's name, {service} its part"
    )
    metadata_database: MetadataDatabase | None = Field(
        None,
        description="Where the embedded Airflow keeps its metadata: postgres (the bundled one) or sqlite (what the "
        "home has already; postgres in a new one)",
    )
    compose_profiles: list[str] = Field(
        ["core"], description="Which parts of docker-compose.yaml --mode compose runs: core or scale, serving, bi"
    )
    services: dict[str, Service] = Field({}, description="Service → where it is")

    @field_validator("container_naming_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        fields = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
        if "service" not in fields or fields - {"service", "project"}:
            raise ValueError("write {service}, and {project} if you want; no other name in braces")
        return pattern


class Configuration(_Section):
    """All of ``phlo.yaml``, for one environment."""

    name: str | None = Field(None, description="The project's name (that of its folder)", pattern=_NAME)
    infrastructure: Infrastructure = Field(Infrastructure(), description="The services around the project")


def read_configuration(path: Path, variables: Mapping[str, str]) -> Configuration:
    """
    Return what ``phlo.yaml`` says.

    :param path: the file.
    :param variables: for ``${NAME}`` in its texts; ``PHLO_ENVIRONMENT`` names the overlay of ``environments``.
    :raises ConfigurationError: the file is wrong, also in an overlay that was not asked for: names file, line and key.
    """
    document = Document(path)
    overlays = document.values.pop(_OVERLAYS, None) or {}
    if not isinstance(overlays, dict) or not all(isinstance(overlay, dict) for overlay in overlays.values()):
        raise ConfigurationError(f"{document.where((_OVERLAYS,))}: write {_OVERLAYS}: NAME: KEY: VALUE.")
    for name, overlay in overlays.items():
        _validate(document, merge(document.values, overlay), name, lenient=True)
    wanted = variables.get(ENVIRONMENT_VARIABLE, "")
    if wanted and wanted not in overlays:
        known = f"{_OVERLAYS} has {', '.join(overlays) or 'none'}"
        raise ConfigurationError(
            f"{path}: {ENVIRONMENT_VARIABLE} is {wanted}, and {known}.{did_you_mean(wanted, overlays)}"
        )
    values = merge(document.values, overlays.get(wanted, {}))
    values = interpolate(values, variables, lambda key: f"{_place(document, wanted, key)}: {'.'.join(key)}")
    return _validate(document, values, wanted)


def _place(document: Document, environment: str, key: KeyPath) -> str:
    """Return where a key is: in the overlay, if that has it."""
    inside = (_OVERLAYS, environment, *key)
    return document.where(inside if inside in document.lines else key)


def _validate(
    document: Document, values: Mapping[str, Any], environment: str, *, lenient: bool = False
) -> Configuration:
    """
    Return the values as what they stand for.

    :param lenient: whether texts with variables, which are not replaced, may be anything.
    """
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{_place(document, environment, key)}: {_problem(key, found)}"
            for found in error.errors(include_url=False)
            if not (lenient and "${" in str(found["input"]))
            for key in [tuple(map(str, found["loc"]))]
        ]
    if not problems:
        return Configuration()
    raise ConfigurationError("\n".join(problems))


def _problem(key: KeyPath, found: ErrorDetails) -> str:
    """Return what is wrong with a key; its value may be a secret, and is left out."""
    if found["type"] == "extra_forbidden":
        known = _section(key[:-1]).model_fields
        hint = did_you_mean(key[-1], known) or f" Known are {', '.join(known)}."
        return f"{'.'.join(key)} is not known.{hint}"
    if found["type"] == "string_pattern_mismatch":
        return f"{'.'.join(key)}: only a to z, 0 to 9, _ and -, and a letter or digit first."
    return f"{'.'.join(key)}: {words_for(found)}."


def _section(key: KeyPath) -> type[_Section]:
    """Return the section that a key names."""
    if key[:2] == ("infrastructure", "services"):
        return Service
    return Infrastructure if key else Configuration
