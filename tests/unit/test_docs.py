"""What the pages point to is there: files, sections, and the names of the glossary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

from airflow_provider_phlo.cli.main import _parser
from tests.import_graph import PACKAGE

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
# commands of plugins that pages make up or install
NOT_OURS = {"example", "notes"}
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


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield the words of each ``phlo …`` of a page, in blocks and in lines of text."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in [*(line for block in blocks for line in block.splitlines()), *spans]:
        for found in re.findall(r"(?:^|&& |\$ )(?:airflow )?phlo ([a-z]+\b[^#|&>]*)", line.replace("\\|", "/")):
            yield re.sub(r"[\[\]]", "", found).split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_case_50_commands_of_the_pages_are_there_with_their_options(page):
    assert [" ".join(words) for words in commands_of(page) if words[0] not in NOT_OURS and not is_known(words)] == []


def is_known(words: list[str]) -> bool:
    """Return whether there is such a command, with these options."""
    parser, left = _parser(), list(words)
    while left and (groups := parser._subparsers) is not None and (choices := groups._group_actions[0].choices):
        if not re.fullmatch("[a-z-]+", left[0]):  # of a whole group: phlo lineage …
            return True
        if left[0] not in choices:
            return False
        parser = choices[left.pop(0)]
    options = {word.partition("=")[0].strip('",') for word in left if re.match(r"-{1,2}[a-z]", word)}
    return parser.passes_on or options <= parser._option_string_actions.keys()


def test_an_unknown_command_of_a_page_is_found():
    for text in ("catalog tabels", "query --brunch x", "nope", "maintenance plan --orphan-day 3"):
        assert not is_known(text.split()), text
