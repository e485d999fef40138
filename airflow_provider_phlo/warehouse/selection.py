"""Which staged batches are loaded again: one rule for the operators and for ``phlo pulls``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_phlo.warehouse.stage_batches import StageBatch

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def select(
    batches: Iterable[StageBatch], wanted: Mapping[str, str] | None, since: str | None, folder: Any
) -> list[StageBatch]:
    """
    Return batches in the order of writing; see :meth:`~airflow_provider_phlo.warehouse.stage.Stage.batches`.

    :param wanted: organizations by their casefolded names; all when None.
    :param since: the first batch of this day or a later one, and all that were written after it; all when None.
    :param folder: the stage's, for the message.
    :raises ConfigurationError: nothing is selected of an organization, or ``since`` is not a day.
    """
    if since is not None and not _DAY.fullmatch(since):
        raise ConfigurationError(f"since = {since!r} is not a day: write YYYY-MM-DD.")
    found = [batch for batch in batches if wanted is None or batch.organization.casefold() in wanted]
    found.sort(key=lambda batch: (batch.written_at, batch.name))
    days = [batch.date for batch in found]
    first = next((place for place, day in enumerate(days) if since is None or day >= since), len(found))
    selected = found[first:]
    missing = set(wanted or ()) - {batch.organization.casefold() for batch in selected}
    if wanted and missing:
        names = ", ".join(sorted(wanted[name] for name in missing))
        raise ConfigurationError(f"Nothing is staged of {names}{f' since {since}' if since else ''} in {folder}.")
    return selected
