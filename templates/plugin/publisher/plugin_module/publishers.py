"""The publisher."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from airflow_provider_phlo.publishing.lakehouse import Source


class PluginClass:
    """
    Writes each mart to a file of JSON lines, ``<folder>/<target>.jsonl``, which is replaced as a whole.

    :param folder: the folder; it is made when missing.
    """

    #: What `phlo plugin check` tries it with; {folder} is an empty one.
    examples: ClassVar = ({"arguments": {"folder": "{folder}"}},)

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def publish(self, marts: Mapping[str, Source]) -> Mapping[str, int]:
        """Write all of them, then put each in its place; return how many rows each has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = {target: self._write(self._new(target), source) for target, source in marts.items()}
        for target in marts:
            os.replace(self._new(target), self.folder / f"{target}.jsonl")
        return rows

    def _new(self, target: str) -> Path:
        return self.folder / f".{target}.jsonl.new"

    def _write(self, path: Path, source: Any) -> int:
        rows = 0
        with path.open("w", encoding="utf-8") as file:
            for batch in source.read():
                file.writelines(f"{json.dumps(row, default=str)}\n" for row in batch.to_pylist())
                rows += len(batch)
        return rows
