"""
The policy that stands with a table, in its property ``phlo.policy``: its runs write it when they publish.

So whoever watches a table needs neither the DAG file that declares it nor Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.quality.freshness.policy import FreshnessPolicy

POLICY_PROPERTY = "phlo.policy"
VERSION = 1


@dataclass(frozen=True)
class TablePolicy:
    """
    What is declared of a table for those who watch it.

    :param freshness: how old it may be; None if nobody says.
    :param group: the group of its asset.
    :param owner: of the tasks that write it; None if they have Airflow's default owner.
    :param tags: of their DAG.
    """

    freshness: FreshnessPolicy | None = None
    group: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the value of the table property; equal policies have the same."""
        content = {**asdict(self), "tags": sorted(self.tags), VERSION_FIELD: VERSION}
        return json.dumps(content, sort_keys=True)


def table_policy(table: str, properties: Mapping[str, str]) -> TablePolicy | None:
    """
    Return the policy that stands with a table, None if there is none.

    :param table: names it in messages.
    :raises ConfigurationError: if a newer release wrote it, or it is not a policy.
    """
    text = properties.get(POLICY_PROPERTY)
    if text is None:
        return None
    try:
        content = json.loads(text)
        require_known_version(content, VERSION, f"The policy of {table}")
        freshness = content.get("freshness")
        return TablePolicy(
            freshness=None if freshness is None else _freshness(freshness),
            group=content.get("group"),
            owner=content.get("owner"),
            tags=tuple(content.get("tags") or ()),
        )
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ConfigurationError(
            f"The property {POLICY_PROPERTY} of {table} is not a policy: remove it, and the next run that publishes "
            "into the table writes it."
        ) from None


def _freshness(content: Mapping[str, Any]) -> FreshnessPolicy:
    weekdays = content.get("weekdays")
    return FreshnessPolicy(
        content["warn_hours"],
        content["error_hours"],
        content.get("cron"),
        content.get("zone") or "UTC",
        None if weekdays is None else tuple(weekdays),
    )
