"""A value that must be nowhere but in the data: where it is found all the same."""

from __future__ import annotations

import traceback
from pathlib import Path

#: With an apostrophe, as people's names have: whoever masks what stands in quotes leaves half of it.
CANARY = "O'Brien 77"
PARTS = ("Brien",)
# tables hold values, and so do the statistics in their manifests
DATA = {".parquet", ".avro"}


def files_with_canary(home: Path) -> list[str]:
    """Return the files below ``home`` that hold the canary, but for those of the data itself."""
    paths = (path for path in home.rglob("*") if path.is_file() and path.suffix not in DATA)
    return sorted(str(path.relative_to(home)) for path in paths if has_canary(path.read_bytes().decode("latin-1")))


def has_canary(text: str) -> bool:
    """Return whether a text has (a part of) the canary."""
    return any(part in text for part in PARTS)


def told(error: BaseException) -> str:
    """Return all that a log would show of an error: its text, its traceback, and all that it was raised from."""
    texts = []
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        waiting += [each.__cause__, each.__context__]  # what is suppressed too: not every logger honours that
        texts += [repr(each), str(each), *getattr(each, "__notes__", [])]
    return "\n".join([*texts, *traceback.format_exception(error)])
