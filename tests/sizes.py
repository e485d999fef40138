"""How much a test does: what CI can wait for, or with PHLO_SOAK=1 (``make soak``) what takes hours."""

from __future__ import annotations

import os

SOAK = os.environ.get("PHLO_SOAK") == "1"


def size(ci: int, soak: int) -> int:
    """Return one of two sizes."""
    return soak if SOAK else ci
