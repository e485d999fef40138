"""What a test expects of a result, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def expect(result: Any, **values: Any) -> None:
    """
    Assert that a result has these values.

    :param result: a mapping, or an object such as a ``MergeResult``.
    :param values: what is expected, by the name of the entry or attribute.
    """
    found = {name: result[name] if isinstance(result, Mapping) else getattr(result, name) for name in values}
    assert found == values, f"found {found}, expected {values}"
