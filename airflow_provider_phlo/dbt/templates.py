"""
Compiled Jinja templates, kept from one task to the next: dbt compiles each macro and each node anew in every process.

The code of a template depends on its text, the kind of environment, and the versions that made it; nothing else is
kept. One file per parsed project holds it, which tasks add to.
"""

from __future__ import annotations

import importlib.metadata
import marshal
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import CodeType
from typing import Any

from dbt_common.clients import jinja

_FILE = "templates"
# what is not used by then begins anew: a project that changes all the time leaves its old texts behind
_MOST = 20_000
_KIND = "\n".join([sys.version, *(importlib.metadata.version(name) for name in ("jinja2", "dbt-common", "dbt-core"))])

_Key = tuple[str, str]
#: The code by kind of environment and text.
_known: dict[_Key, CodeType] = {}
#: The files that this process has read, by what they were then.
_read: dict[Path, tuple[int, int]] = {}


def load_templates(folder: Path) -> None:
    """
    Read what earlier tasks have compiled; a file that is not to be used is left alone.

    :param folder: the target path of the project.
    """
    path = folder / _FILE
    with suppress(OSError, ValueError, EOFError, TypeError):
        state = path.stat()
        place = (state.st_ino, state.st_mtime_ns)
        if _read.get(path) != place:
            kind, codes = marshal.loads(path.read_bytes())  # noqa: S302 - it is ours, in a folder that only we can write
            if kind == _KIND:
                _known.update(codes)
            _read[path] = place


@contextmanager
def kept_templates(folder: Path) -> Iterator[None]:
    """
    Compile no template that is known, and keep those that are compiled meanwhile.

    :param folder: the target path of the project.
    """
    load_templates(folder)
    before = len(_known)
    compiled = jinja.MacroFuzzEnvironment.compile
    jinja.MacroFuzzEnvironment.compile = _remembering(compiled)  # type: ignore[method-assign]
    try:
        yield
    finally:
        jinja.MacroFuzzEnvironment.compile = compiled  # type: ignore[method-assign]
        if len(_known) != before:
            _save(folder)


def _remembering(compiled: Callable[..., Any]) -> Callable[..., Any]:
    def compile_once(environment: Any, source: Any, *arguments: Any, **options: Any) -> Any:
        if arguments or options or not isinstance(source, str) or jinja.MACRO_DEBUGGING:
            return compiled(environment, source, *arguments, **options)
        key = (type(environment).__name__, source)
        if key not in _known:
            _known[key] = compiled(environment, source)
        return _known[key]

    return compile_once


def _save(folder: Path) -> None:
    """Write what is known; of processes that do so at once, the last one wins."""
    load_templates(folder)
    if len(_known) > _MOST:
        _known.clear()
    with suppress(OSError):
        with NamedTemporaryFile(dir=folder, prefix=f"{_FILE}-", delete=False) as out:
            out.write(marshal.dumps((_KIND, _known)))
        os.replace(out.name, folder / _FILE)
