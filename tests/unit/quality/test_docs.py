"""The examples of docs/quality.md run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "quality.md"


def test_the_examples_run():
    # names that dataclasses and Pandera look up in the module of a class
    names = {"__name__": "docs_quality"}
    examples = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(examples) > 8
    for example in examples:
        exec(compile(example, str(PAGE), "exec", dont_inherit=True), names)
