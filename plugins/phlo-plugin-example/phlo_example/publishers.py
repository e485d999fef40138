"""A publisher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_phlo.publishing.lakehouse import Source


class CsvFiles:
    """
    Writes each mart to a CSV file, ``<folder>/<target>.csv``, which is replaced as a whole.

    :param folder: the folder, absolute; it is made when missing.
    """

    #: What `phlo plugin check` tries it with; {folder} is an empty one.
    examples: ClassVar = ({"arguments": {"folder": "{folder}"}},)

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_absolute():
            raise ConfigurationError(f"{folder} is relative, and tasks may run in any folder. Give an absolute path.")

    def publish(self, marts: Mapping[str, Source]) -> Mapping[str, int]:
        """Write the files; each is put in its place when all of them are written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = {target: self._write(self._new(target), source) for target, source in marts.items()}
        for target in marts:
            os.replace(self._new(target), self.folder / f"{target}.csv")
        return rows

    def _new(self, target: str) -> Path:
        return self.folder / f".{target}.csv.new"

    def _write(self, path: Path, source: Any) -> int:
        import pyarrow.csv

        rows = 0
        with pyarrow.csv.CSVWriter(path, source.columns) as file:
            for batch in source.read():
                file.write_batch(batch)
                rows += len(batch)
        return rows
