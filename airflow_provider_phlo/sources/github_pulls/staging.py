"""Put what was read of pull requests into the stage, as the tables that are loaded from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.sources.github_pulls.transform import ENTITIES, transform
from airflow_provider_phlo.terms import Token
from airflow_provider_phlo.warehouse.stage import Stage, StageWriter


@dataclass
class StagedReadings:
    """
    What was put into the stage.

    :param batches: their names, one per organisation.
    :param rows: for each entity, how many rows.
    """

    batches: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENTITIES, 0))


def stage_readings(
    stage: Stage, readings: Iterable[pa.Table], organizations: Sequence[str], *, date: str, token: Token
) -> StagedReadings:
    """
    Stage pull requests, their reviews and files: one batch per organisation, also where nothing was read.

    A retry with the same token finds what was staged before.

    :param readings: as read, some thousands at a time: each table is one file of each entity.
    :param organizations: those of the readings.
    :param date: of the run, ``YYYY-MM-DD``.
    """
    with ExitStack() as opened:
        writers = {name: opened.enter_context(stage.writer(name, date, token)) for name in organizations}
        if any(writer.batch is None for writer in writers.values()):
            _write(writers, readings)
    result = StagedReadings()
    for writer in writers.values():
        assert writer.batch is not None
        result.batches.append(writer.batch.name)
        for entity in result.rows:
            result.rows[entity] += writer.batch.rows(entity)
    return result


def _write(writers: Mapping[str, StageWriter], readings: Iterable[pa.Table]) -> None:
    for some in readings:
        for organization, writer in writers.items():
            own = some.filter(pc.equal(some["organization"], organization))
            for entity, rows in transform(own).items() if len(own) else ():
                writer.write(entity, rows)
