"""Write down how far pull requests have been read, when what was read is loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow

from airflow_provider_phlo.schemas import pandera_to_iceberg
from airflow_provider_phlo.sources.github_pulls.answers import instant
from airflow_provider_phlo.sources.github_pulls.known import COUNTS
from airflow_provider_phlo.sources.github_pulls.models import PullRequestRepository
from airflow_provider_phlo.sources.github_pulls.transform import row_key
from airflow_provider_phlo.sources.github_pulls.watermark import without

log = logging.getLogger(__name__)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# the login of an account, and the id of a repository: after a transfer, both accounts have rows of it
Owned = tuple[str, int]
Rows = Mapping[Owned, tuple[int, int, int]]


def repository_rows(
    repositories: Iterable[Mapping[str, Any]],
    missed: Iterable[Mapping[str, Any]],
    rows: Rows,
    inserted: Sequence[int],
) -> pa.Table:
    """
    Return the rows of :class:`~.models.PullRequestRepository` after a load.

    Nothing is certain of any repository if the tables have not grown by what was inserted: rows that were there when
    the run was planned have been lost since, by a rollback or otherwise.

    :param repositories: as planned, with ``rows_before``.
    :param missed: pull requests that could not be read.
    :param rows: how many pull requests, reviews and files the tables have now of each repository, by its account.
    :param inserted: how many rows of each the load has inserted.
    """
    known = list(repositories)
    before = [sum(each["rows_before"][index] for each in known) for index in range(len(COUNTS))]
    now = [sum(counts[index] for counts in rows.values()) for index in range(len(COUNTS))]
    lost = any(b + i > n for b, i, n in zip(before, inserted, now, strict=True))
    if lost:
        log.warning("Rows of pull requests were lost while they were read: all repositories are read again next time.")
    made = []
    for each in without_left_out(known, missed):
        counts = dict(zip(COUNTS, rows.get((each["organization"], each["repository_id"]), (0, 0, 0)), strict=True))
        key = row_key("repository", each["repository_id"])
        until = None if lost else each["complete_until"]
        made.append({**each, **counts, "row_key": key, "complete_until": until})
    declared = pandera_to_iceberg(PullRequestRepository, metadata_columns=False)
    return pa.Table.from_pylist(made, schema=schema_to_pyarrow(declared, include_field_ids=False))


def without_left_out(
    repositories: Iterable[Mapping[str, Any]], missed: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """
    Return the repositories as they are known after pull requests of some could not be read.

    Those are complete only until the first of these was updated: the next run reads from there.

    :param missed: pull requests with ``repository_id``, ``updated_at`` and ``left_out`` (why).
    """
    left_out: dict[int, list[Mapping[str, Any]]] = {}
    for pull in missed:
        left_out.setdefault(pull["repository_id"], []).append(pull)
    made = []
    for each in repositories:
        pulls, until = left_out.get(each["repository_id"], []), each["complete_until"]
        if pulls:
            why = f"{len(pulls)} pull requests: {pulls[0]['left_out']}"
            numbers = {pull["number"] for pull in pulls}
            each = {
                **each,
                "complete_until": until and min(until, *map(_updated, pulls)),
                "updated_last": without(each["updated_last"], numbers),
                "left_out": why,
                "left_out_pull_requests": len(pulls),
            }
        made.append(dict(each))
    return made


def _updated(pull: Mapping[str, Any]) -> datetime:
    moment = instant(pull["updated_at"])
    return moment if isinstance(moment, datetime) else _LONG_AGO
