"""Verdicts as JUnit XML, which every CI server shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Case:
    """
    One verdict.

    :param suite: what it is about: a contract.
    :param name: what was judged.
    :param problem: why it failed; empty if it passed.
    :param warning: whether the problem is only said.
    :param unjudged: why nothing can be said; empty if something can.
    """

    suite: str
    name: str
    problem: str = ""
    warning: bool = False
    unjudged: str = ""
    where: str = ""
    seconds: float = 0.0


def document(cases: Iterable[Case], suites: Sequence[str] = ()) -> str:
    """
    Return a file that CI servers read: a suite per contract, a test case per verdict.

    :param suites: the suites in their order, also those without a case.
    """
    by_suite: dict[str, list[Case]] = {suite: [] for suite in suites}
    for case in cases:
        by_suite.setdefault(case.suite, []).append(case)
    root = ElementTree.Element("testsuites", {"name": "phlo contract", **_counts([*_all(by_suite)])})
    for suite, inside in by_suite.items():
        element = ElementTree.SubElement(root, "testsuite", {"name": _text(suite), **_counts(inside)})
        for case in inside:
            _append(element, case)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _all(by_suite: Mapping[str, list[Case]]) -> Iterable[Case]:
    for cases in by_suite.values():
        yield from cases


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.problem) and not case.warning for case in cases)),
        "errors": "0",
        "skipped": str(sum(bool(case.unjudged) for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _append(suite: ElementTree.Element, case: Case) -> None:
    attributes = {"classname": _text(case.suite), "name": _text(case.name), "time": f"{case.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", attributes)
    if case.unjudged:
        ElementTree.SubElement(element, "skipped", message=_text(case.unjudged))
    elif case.problem and case.warning:
        ElementTree.SubElement(element, "system-out").text = _text(f"WARNING: {case.problem} ({case.where})")
    elif case.problem:
        failure = ElementTree.SubElement(element, "failure", message=_text(case.problem), type="breach")
        failure.text = _text(f"{case.problem}\n{case.where}".strip())


def _text(text: str) -> str:
    """Return a text without the characters that XML cannot have."""
    return "".join(letter for letter in text if letter in "\t\n" or (letter >= " " and letter not in "\ufffe\uffff"))
