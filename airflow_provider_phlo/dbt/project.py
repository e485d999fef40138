"""A dbt project as it is run: its folder, the target, and what its parsing depends on besides its files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from airflow_provider_phlo.dbt.files import parse_settings
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET, Profile, profile_of
from airflow_provider_phlo.exceptions import ConfigurationError

# dbt sends no usage statistics
QUIET = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "False", "DO_NOT_TRACK": "1"}
# what dbt takes from the environment, and silently leaves out tests or rows for
_FLAGS = (
    *("DBT_RESOURCE_TYPES", "DBT_EXCLUDE_RESOURCE_TYPES", "DBT_EMPTY", "DBT_SAMPLE", "DBT_FULL_REFRESH", "DBT_DEFER"),
    *("DBT_DEFER_TO_STATE", "DBT_FAVOR_STATE", "DBT_FAVOR_STATE_MODE", "DBT_EVENT_TIME_START", "DBT_EVENT_TIME_END"),
)
_OFF = ("", "0", "f", "false", "n", "no", "off")


@dataclass(frozen=True)
class Project:
    """
    A project, and how it is parsed.

    :param directory: the folder with ``dbt_project.yml``.
    :param home: ``PHLO_HOME``.
    :param target: the profile's target.
    :param vars: dbt's ``--vars``.
    :param env: environment variables that the project reads when it is parsed.
    """

    directory: Path
    home: Path
    target: str = DEFAULT_TARGET
    vars: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def folder(self) -> Path:
        """
        Return the folder that dbt writes to instead of the project: each has its own, whatever its name.

        So has each setting of the variables and the environment that a project is parsed with.
        """
        directory = self.directory.resolve()
        place = blake2b(str(directory).encode(), digest_size=4).hexdigest()
        return self.home / "dbt" / f"{directory.name}-{place}" / (self.target + self._variant)

    @property
    def _variant(self) -> str:
        settings = parse_settings(self.directory, self.profile.text(), self.env)
        if not (self.vars or self.env or settings):
            return ""
        return "-" + blake2b(self._parameters(settings).encode(), digest_size=6).hexdigest()

    def _parameters(self, settings: Mapping[str, str]) -> str:
        try:
            return json.dumps([dict(self.vars), dict(self.env), *([settings] if settings else [])], sort_keys=True)
        except TypeError as error:
            raise ConfigurationError(f"vars of {self.directory} are not JSON: {error}.") from None

    @cached_property
    def profile(self) -> Profile:
        """Return the profile that it runs with."""
        with self.environment():
            return profile_of(self.directory, self.target)

    def write_profile(self) -> Path:
        """Return the folder of the project's ``profiles.yml``, which is written if the project has none."""
        return self.profile.write(self.folder.parent / "profiles" / self.folder.name)

    def arguments(self, output: Path | None = None) -> list[str]:
        """
        Return the arguments of dbt's command line that name the project.

        :param output: where dbt writes; the project's folder when None.
        """
        options = {
            "project-dir": self.directory,
            "profiles-dir": self.write_profile(),
            "profile": self.profile.name,
            "target": self.profile.target,
            "target-path": output or self.folder,
            "log-path": output or self.folder,  # dbt makes it even if nothing is logged
            **({"vars": json.dumps(self.vars)} if self.vars else {}),
        }
        return [f"--{name}={value}" for name, value in options.items()]

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Set the variables that the project reads."""
        with environment({**QUIET, **self.env}):
            yield

    def to_json(self) -> dict[str, Any]:
        """Return the project as a JSON object, for another process."""
        places = {"directory": str(self.directory), "home": str(self.home)}
        return {**places, "target": self.target, "vars": dict(self.vars), "env": dict(self.env)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Project:
        """Return the project of a JSON object."""
        return cls(
            Path(content["directory"]), Path(content["home"]), content["target"], content["vars"], content["env"]
        )


def require_no_flags(variables: Mapping[str, str]) -> None:
    """
    Refuse variables that mean flags of dbt's: what a DAG builds and tests is said in the DAG.

    :raises ConfigurationError: names them.
    """
    found = [name for name in _FLAGS if variables.get(name, "").strip().lower() not in _OFF]
    if found:
        raise ConfigurationError(
            f"The environment sets {', '.join(found)}: dbt would build or test something else than the DAG says. Unset "
            "it for Airflow, and say what is meant with `select`, `exclude`, `full_refresh` or `partition_date`."
        )


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables and restore them afterwards: dbt and its adapter read nothing else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
