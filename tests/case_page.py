"""
``docs/cases.md``: inputs of real use and their tests, written by ``python -m tests.case_page``.

A test of such an input is named after its number: ``test_case_40_…``; of several, ``test_case_09_and_14_…``.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "cases.md"
# the kinds, and the first number of each
KINDS = {
    1: "Names: any name that Iceberg allows, anywhere",
    6: "Identity: data is read by field id, never by name or position",
    8: "Statistics: right, or absent",
    9: "Ranges: the ends of every type",
    15: "Columns that the schema does not declare: nothing is squeezed, nobody is blocked",
    17: "dlt: every feature is honoured or refused by name",
    22: "Tables of other writers: read, merged and compacted right, or refused before a byte",
    24: "HTTP and sources",
    33: "Privacy and secrets",
    39: "Readers and clocks",
    42: "Green, and nothing was done",
    49: "Growth",
    50: "What a person meets",
    65: "Verdicts: a check that passes where it must fail, or the reverse",
}
LAST = 79
HEAD = """\
# Inputs from real use

What people meet in their own world and the examples do not have. Each number is an input that once went wrong; its
tests are named after it, so that `make test K=case_40` runs them. This page is made from the tests
(`python -m tests.case_page`): do not edit it.
"""


def page() -> str:
    """Return the text of the page."""
    found = find_tests()
    text = HEAD
    for number in range(1, LAST + 1):
        if number in KINDS:
            text += f"\n## {KINDS[number]}\n\n| case | test | file |\n|--:|---|---|\n"
        for name, path in found.get(number, ()):
            text += f"| {number} | {name} | [{path.stem}](../{path.relative_to(TESTS.parent)}) |\n"
    return text


def find_tests() -> dict[int, list[tuple[str, Path]]]:
    """Return for each case what its tests are called, in words, and their files."""
    found: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in _functions(path):
            numbers, words = re.fullmatch(r"test_case_((?:\d+_and_)*\d+)_(\w+)", name).groups()  # type: ignore[union-attr]
            for number in numbers.split("_and_"):
                found[int(number)].append((words.replace("_", " "), path))
    return found


def _functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_case_"):
            yield node.name


if __name__ == "__main__":
    PAGE.write_text(page())
