"""
Plain English, as far as a list of patterns sees it: ``python -m tests.wording [file …]`` prints where readers stumble.

It reads comments, docstrings, messages and names of tests; pages without their code; the changelog's unreleased part.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUFFIXES = (".md", ".py", ".sql", ".toml", ".yaml", ".yml")
# its examples are what it looks for
SKIPPED = ("tests/wording.py", "tests/unit/test_wording.py")

COUNTED = (
    "batch|branch|byte|change|check|chunk|column|commit|encoder|entry|file|group|kill|line|list|message|model|month|name|pass|process|"
    "quantity|query|report|result|round|row|scan|schema|sheet|snapshot|statement|sum|table|task|thread|token|value|view|warning"
)
UNITS = (
    "batch|branch|catalog|check|chunk|column|commit|day|entity|file|group|key|kind|message|model|month|namespace|node|partition|"
    "process|query|record|row|run|scan|side|slot|snapshot|source|step|table|task|test|thread|token|value|writer"
)


@dataclass(frozen=True)
class Rule:
    """
    What makes readers stumble.

    :param pattern: in text whose white space is single spaces.
    :param instead: what to write.
    :param example: a sentence with it; ``better`` is the same without.
    """

    pattern: str
    instead: str
    example: str
    better: str


RULES = (
    Rule(
        rf"\b(?:(?:an?|one|each|two|three|\d[\d,]*) (?:{COUNTED})(?:s|es)?|one) an? (?:{UNITS})\b",
        "one X per Y",
        "a table with one row a key",
        "a table with one row per key",
    ),
    Rule(
        r"\b(?:is|are|was|were|be) no (?!\d)[\w-]+",
        "is not a …",
        "what is no record is set aside",
        "what is not a record is set aside",
    ),
    Rule(r"\b(?:is|are) none\b", "is not one; there are none", "the day is none", "the day is not a date"),
    Rule(
        r"\b(?:tells?|told)\b",
        "says, reports, shows, names, returns, decides",
        "the message tells the first keys",
        "the message names the first keys",
    ),
    Rule(
        r"\b(?:has|have|had) not (?:the|an?|any|its|their|this|that|these|those|all)\b|\b(?:has|have) not(?=[.,;:)])",
        "lacks, does not have",
        "the table has not the columns",
        "the table lacks the columns",
    ),
    Rule(
        r"\bof (?:which|whom) (?:the|an?|it|this|that|[a-z]+s|\w+ (?:is|are|was|has|gives|made|kept))\b|\bof whose\b",
        "the first of which; a file whose key …; that … came from",
        "keys, of whose values the first are shown",
        "keys, the first of whose values are shown",
    ),
    Rule(
        r"\b(?:calls?|called|names?|named)(?: it| them)? otherwise\b",
        "names differently; has another name in",
        "what the source calls otherwise",
        "columns that the source names differently",
    ),
    Rule(r"\bsafe beside\b", "safe while … run", "safe beside running writers", "safe while writers run"),
    Rule(r"\bwithout a word\b", "silently", "drops one without a word", "drops one silently"),
    Rule(
        r"(?<!in )\bso many\b(?! (?:that|as)\b)",
        "this many",
        "at most so many are named",
        "at most this many are named",
    ),
    Rule(
        r"(?<!no )\b(?:an)?other \w+ than\b",
        "a … other than; different from",
        "a value of another kind than its column",
        "a value of a different kind from its column",
    ),
    Rule(
        r"(?:^|: )of (?:each|an?|the) [^,.;:]{2,40}, (?:the|how|what|which|where|at most|it|only|whether)\b",
        "for each …; what … of …",
        "of each file, the rows that it has",
        "for each file, the rows that it has",
    ),
    Rule(
        r"\bthat there (?:is|are) of\b", "the first of these that is set", "the first that there is of", "the first of"
    ),
    Rule(r"\blistens? but\b", "listens only on", "nothing listens but on 127.0.0.1", "all listen only on 127.0.0.1"),
    Rule(r"\bapart by\b", "separated by", "values apart by a slash", "values separated by a slash"),
    Rule(r"\bhow-manieth\b", "which of several", "the how-manieth of the run", "which of several of the run"),
    Rule(r"\bin so many words\b", "explicitly, by name", "named in so many words", "named explicitly"),
)
# plain English that a pattern would find
ALLOWED = (
    r"\bthere (?:is|are|was|were|will be|would be|can be|may be|must be) (?:no|none)\b",
    r"\b(?:is|are|was|were) there (?:no|none)\b",
    r"\b(?:is|are|was|were|be) no (?:longer|more|less|fewer|different|better|worse|exception|use|need|one)\b",
    r"\b(?:tells?|told) (?:\w+ ){0,4}apart\b",
    r"\b(?:some|all|most|none|one|both|each|many|half|part|any|neither|either|first|last) of (?:which|whom|whose)\b",
)


def main(names: list[str]) -> int:
    """Print every place, and return how many there are."""
    found = [place for name in names or tracked() for place in check(ROOT / name)]
    for place in found:
        print(place)
    if found:
        print(f"{len(found)} places where readers stumble: tests/wording.py lists what to write instead.")
    return len(found)


def tracked() -> list[str]:
    """Return the files of the repository that have text for people."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [
        name
        for name in listing.splitlines()
        if (name.endswith(SUFFIXES) or name == "Makefile") and name not in SKIPPED and (ROOT / name).is_file()
    ]


def check(path: Path) -> Iterator[str]:
    """Yield the places of a file, as ``file:line: what stands there → what to write``."""
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for words in paragraphs(path):
        for line, phrase, rule in stumbles(words):
            yield f'{name}:{line}: "{phrase}" → {rule.instead}'


def stumbles(words: list[tuple[int, str]]) -> Iterator[tuple[int, str, Rule]]:
    """Yield line, phrase and rule of what a paragraph of numbered words is found to have."""
    text = " ".join([*(word for _, word in words), ""])
    if not _ANY_RULE.search(text):  # most have nothing, and one pattern is found sooner than all of them
        return
    starts = [0, *accumulate(len(word) + 1 for _, word in words)]
    plain = _ALLOWED.sub(lambda allowed: "#" * len(allowed[0]), text)
    plain = re.sub(r"\bNone\b", "####", plain)  # a value; "none" is a word
    for rule in RULES:
        for match in re.finditer(rule.pattern, plain, re.IGNORECASE):
            yield words[bisect_right(starts, match.start()) - 1][0], match[0], rule


_ANY_RULE = re.compile("|".join(f"(?:{rule.pattern})" for rule in RULES), re.IGNORECASE)
_ALLOWED = re.compile("|".join(ALLOWED), re.IGNORECASE)


def paragraphs(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Yield the paragraphs of a file as words with the numbers of their lines."""
    text = path.read_text()
    if path.name == "CHANGELOG.md":  # what has been released stays as it was
        text = re.split(r"^## \[?\d", text, maxsplit=1, flags=re.MULTILINE)[0]
    if path.suffix == ".py":
        yield from _python_paragraphs(text)
    elif path.suffix == ".md":
        yield from _split(1, _without_code(text))
    else:
        lines = text.splitlines()
        if path.suffix == ".sql":
            lines = [line if re.match(r"\s*(?:--|\{#)", line) else "" for line in lines]
        yield from _split(1, "\n".join(map(_comment_text, lines)))


def _python_paragraphs(text: str) -> Iterator[list[tuple[int, str]]]:
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            comments += [(line, word) for word in _comment_text(token.string).split()]
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            yield comments
            comments = []
            if token.type in _STRINGS:
                yield from _split(line, _without_code(re.sub(r"\{[^{}]*\}", "X", token.string)))
            elif token.type == tokenize.NAME and token.string.startswith("test_"):
                yield [(line, word) for word in token.string.split("_")]
    yield comments


# an f-string is one token up to Python 3.11, and a token for each of its parts after that
_STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def _without_code(text: str) -> str:
    """Return the text with code replaced by a letter; lines stay where they are."""
    text = re.sub(r"^ *```.*?^ *```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)[^`]+\1", lambda code: "X" + "\n" * code[0].count("\n"), text)


def _comment_text(line: str) -> str:
    return re.sub(r"^\s*(?:#:?|--|//) ?", "", line)


def _split(first: int, text: str) -> Iterator[list[tuple[int, str]]]:
    paragraph: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), first):
        if not line.strip() or re.match(r"\s*(?:[-*|#]|\d+\.|:\w+)", line):
            yield paragraph
            paragraph = []
        paragraph += [(number, word) for word in line.split()]
    yield paragraph


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
