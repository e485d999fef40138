"""Real samples, kept beside the repository; a test that wants one is skipped where they are not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def sample(name: str) -> Any:
    """Return the JSON of a sample, such as ``github/pulls_sample.json``."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("PHLO_SHARED_DATA", beside)) / name
    if not path.exists():
        pytest.skip(f"no real samples here: {path.name} (set PHLO_SHARED_DATA)")
    return json.loads(path.read_text())
