"""``phlo pulls``: what is staged of pull requests, and load it again without asking GitHub."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import exit_on_error
from airflow_provider_phlo.cli.terminal.output import Result, show
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from airflow_provider_phlo.warehouse.stage import Stage
    from airflow_provider_phlo.warehouse.tables import StageTable


def staged(args: argparse.Namespace) -> None:
    """Print the batches in the stage, in the order of writing."""
    with exit_on_error("pulls staged"):
        batches = [
            batch for batch in _stage().batches(args.organization) if args.date is None or batch.date in args.date
        ]
    entities = [table.entity for table in _tables()]
    sizes = [sum(file.bytes for files in batch.files.values() for file in files) for batch in batches]
    if args.output == "table":
        in_words = [
            (
                batch.organization,
                batch.date,
                *(words.number(batch.rows(entity)) for entity in entities),
                words.size(size),
                words.ago(datetime.fromisoformat(batch.written_at)),
                batch.name,
            )
            for batch, size in zip(batches, sizes, strict=True)
        ]
        columns = ["organization", "for day", *entities, "size", "written", "batch"]
        show(Result(columns, in_words, right=(*entities, "size")), args.output)
        return
    rows = [
        (batch.organization, batch.date, *map(batch.rows, entities), size, batch.written_at, batch.name)
        for batch, size in zip(batches, sizes, strict=True)
    ]
    show(Result(["organization", "date", *entities, "bytes", "written_at", "batch"], rows), args.output)


def load(args: argparse.Namespace) -> None:
    """Load staged batches into the warehouse, and print what that did to each table."""
    from airflow_provider_phlo.hooks.warehouse import open_warehouse

    with exit_on_error("pulls load"):
        if not args.from_stage:
            raise ConfigurationError(
                "this command loads what is staged, and says so: add --from-stage. To ask GitHub, run airflow dags "
                'trigger github_pull_requests --conf \'{"organizations": ["octo-org"]}\'.'
            )
        stage = _stage()
        batches = stage.batches(args.organization, args.since)
        if not batches:
            since = f" since {args.since}" if args.since else ""
            raise ConfigurationError(f"nothing is staged{since} in {stage.folder}: see phlo pulls staged.")
        # as the DAG does: what a table cannot hold is counted, and is in its quarantine
        loads = open_warehouse(strict=False).load(
            stage,
            _tables(),
            batches,
            uuid.uuid4().hex[:16],
            run_id="phlo pulls load",
            partition_date=datetime.now(UTC).date().isoformat(),
        )
    facts = [each.to_json() for each in loads]
    show(Result(list(facts[0]), [tuple(each.values()) for each in facts]), args.output)


def _stage() -> Stage:
    from airflow_provider_phlo.hooks.warehouse import open_stage
    from airflow_provider_phlo.sources.github_pulls.tables import PREFIX

    return open_stage(PREFIX)


def _tables() -> Sequence[StageTable]:
    from airflow_provider_phlo.sources.github_pulls.tables import PULL_REQUEST_TABLES

    return PULL_REQUEST_TABLES
