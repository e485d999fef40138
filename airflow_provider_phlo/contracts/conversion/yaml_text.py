"""YAML as people write it: in the order given, texts of several lines as blocks, no anchors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_phlo.yaml_lines import Document


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write the same values twice where they are said twice: contracts have no anchors."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text.strip() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(values: dict[str, Any]) -> str:
    """Return values as YAML."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Return values without the keys that say nothing."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {}, (), False)}


def document_of(text: str) -> Document:
    """Return text as the document that a file of it is."""
    with tempfile.TemporaryDirectory(prefix="phlo-contract-") as folder:
        path = Path(folder) / "contract.yaml"
        path.write_text(text, encoding="utf-8")
        return Document(path)
