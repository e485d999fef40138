"""Publish marts through a publisher of somebody else's, and hold it to what it was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

from airflow_provider_phlo.exceptions import AccountingError, ConfigurationError
from airflow_provider_phlo.library_errors import keep_values_in
from airflow_provider_phlo.publishing.lakehouse import Source


class Publisher(Protocol):
    """What a plugin's publisher is, once it has its options."""

    def publish(self, marts: Mapping[str, Source]) -> Mapping[str, int]:
        """
        Make every target what its mart is, whole; readers see all of one publication, or all of the one before.

        :param marts: the source of each target.
        :return: how many rows each target has now.
        """


class _Reading:
    """Counts what is read of a source."""

    def __init__(self, source: Source) -> None:
        self.rows = 0
        self.complete = False
        self._source = source
        self.counted = source._replace(read=self._read)

    def _read(self) -> pa.RecordBatchReader:
        self.rows, self.complete = 0, False
        return pa.RecordBatchReader.from_batches(self._source.columns, self._batches(self._source.read()))

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self.rows += len(batch)
            yield batch
        self.complete = True


def made(publisher: Callable[..., Any], options: Mapping[str, Any], name: str) -> Any:
    """
    Return a publisher with its options.

    :raises ConfigurationError: it does not take them.
    """
    try:
        inspect.signature(publisher).bind(**options)
    except TypeError as error:
        raise ConfigurationError(f"The {name} does not take these options: {error}.") from None
    return keep_values_in(publisher)(**options)


@keep_values_in
def publish_through(publisher: Any, marts: Mapping[str, Source], name: str) -> dict[str, int]:
    """
    Let ``publisher`` publish marts.

    :param publisher: see :class:`Publisher`.
    :param marts: the source of each target.
    :param name: of the publisher, for messages.
    :return: how many rows each target has now.
    :raises ConfigurationError: it is not a publisher.
    :raises AccountingError: it has not read a mart to its end, or says another number of rows than it has read.
    """
    if not callable(getattr(publisher, "publish", None)):
        raise ConfigurationError(
            f"{name} is not a publisher: a {type(publisher).__name__} has no method publish(marts)."
        )
    readings = {target: _Reading(source) for target, source in marts.items()}
    said = publisher.publish({target: reading.counted for target, reading in readings.items()})
    if not isinstance(said, Mapping) or set(said) != set(marts):
        raise AccountingError(
            f"{name} does not say how many rows each target has now: publish(marts) returns a mapping of "
            f"{', '.join(sorted(marts))} to numbers of rows, not {_shape(said)}."
        )
    for target, reading in readings.items():
        if not reading.complete:
            raise AccountingError(f"{name} has not read all rows of {target}: it stopped after {reading.rows}.")
        if not isinstance(said[target], int) or said[target] != reading.rows:
            raise AccountingError(
                f"{name} says that {target} has {said[target]!r:.40} rows; it was given {reading.rows}."
            )
    return dict(said)


def _shape(said: Any) -> str:
    return (
        f"one of {', '.join(map(str, said)) or 'nothing'}" if isinstance(said, Mapping) else f"a {type(said).__name__}"
    )
