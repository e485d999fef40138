"""What the pages point to is there: files, sections, and the names of the glossary."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

from tests.import_graph import PACKAGE

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
ROW = re.compile(r"^\| (.+) \| .+ \| (`.+`) \| \[([a-z_.0-9]+)\]\((.+)\) \|$", re.MULTILINE)
WORDS = ROW.findall(GLOSSARY)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_every_row_of_the_glossary_is_read():
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("| ") and not line.startswith("| word")]
    assert len(WORDS) == len(rows) > 50


@pytest.mark.parametrize(("word", "names", "module", "link"), WORDS, ids=[word for word, *_ in WORDS])
def test_the_glossary_names_what_there_is(word, names, module, link):
    found = import_module(f"{PACKAGE}.{module}")
    assert (ROOT / "docs" / link).resolve() == Path(found.__file__)
    for name in re.findall(r"`([\w.]+)(?:\(\))?`", names):
        value = found
        for attribute in name.split("."):
            value = getattr(value, attribute)


def python_blocks():
    """Return the Python of all pages, with where it stands."""
    for page in PAGES:
        for found in re.finditer(r"^( *)```python\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL):
            line = page.read_text()[: found.start()].count("\n") + 1
            yield pytest.param(dedent(found[2]), id=f"{page.relative_to(ROOT)}:{line}")


@pytest.mark.parametrize("code", python_blocks())
def test_the_python_of_the_pages_is_python_and_imports_what_there_is(code):
    """README's commands are run by ``tests/system/test_demo.py``, the rules of merge and quality by their own tests."""
    wanted = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
    ]
    exec(compile(ast.Module(wanted, []), "page", "exec"), {})
