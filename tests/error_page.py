"""
``docs/errors.md``, made from the error tree: ``python -m tests.error_page`` writes it.

Each class in ``airflow_provider_phlo/exceptions.py`` says in its docstring what happened, the cause and the cure.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_phlo import exceptions
from airflow_provider_phlo.exceptions import PhloError, TerminalError, TransientError

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
HEAD = """\
# Errors

Every error that this package raises on purpose derives from `airflow_provider_phlo.exceptions.PhloError`. Its class
says whether a retry can help; its message says what happened, to what, and what to do. This page is made from the
docstrings of the classes (`python -m tests.error_page`): do not edit it.

- **TransientError** and the classes below it: a later attempt may succeed, so Airflow retries the task (`max_retries`).
- **TerminalError** and the classes below it: the same input fails again, so the task fails at once.

| error | what happened | retried |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    errors = list(_leaves(PhloError))
    rows = "".join(
        f"| [{name}](#{name.lower()}) | {_parts(error)['']} | {_retried(error)} |\n" for name, error in errors
    )
    return HEAD + rows + "".join(map(_section, errors))


def _leaves(error: type[PhloError]) -> Iterator[tuple[str, type[PhloError]]]:
    """Yield the classes that say a cause, in the order of the tree."""
    if "Cause" in _parts(error):
        yield error.__name__, error
    for below in error.__subclasses__():
        if below.__module__ == exceptions.__name__:
            yield from _leaves(below)


def _parts(error: type[PhloError]) -> dict[str, str]:
    """Return the first paragraph of a class's docstring as ``""``, and what follows ``Cause:`` and ``Cure:``."""
    parts = {}
    for paragraph in inspect.cleandoc(error.__doc__ or "").split("\n\n"):
        label, text = re.fullmatch(r"(?:(\w+): )?(.*)", " ".join(paragraph.split())).groups()  # type: ignore[union-attr]
        if not text.startswith(":param"):
            parts[label or ""] = _capitalized(text.replace("``", "`"))
    return parts


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _retried(error: type[PhloError]) -> str:
    return {True: "yes", False: "no"}[issubclass(error, TransientError) and not issubclass(error, TerminalError)]


def _section(named: tuple[str, type[PhloError]]) -> str:
    name, error = named
    parts = _parts(error)
    return f"\n## {name}\n\n{parts['']}\n\n- **Cause**: {parts['Cause']}\n- **Cure**: {parts['Cure']}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
