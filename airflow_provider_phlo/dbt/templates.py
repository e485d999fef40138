"""
Compiled Jinja templates, kept from one task to the next: dbt compiles each macro and each node anew in every process.

The code of a template depends on its text, the kind of environment, and the versions that made it.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from dbt_common.clients import jinja

from airflow_provider_phlo.dbt.kept import Kept

_VERSIONS = (sys.version, *(importlib.metadata.version(name) for name in ("jinja2", "dbt-common", "dbt-core")))
#: The code by kind of environment and text.
TEMPLATES: Kept[CodeType] = Kept("templates", "\n".join(_VERSIONS))


@contextmanager
def kept_templates(folder: Path) -> Iterator[None]:
    """
    Compile no template that is known, and keep those that are compiled meanwhile.

    :param folder: the target path of the project.
    """
    TEMPLATES.load(folder)
    compiled = jinja.MacroFuzzEnvironment.compile
    jinja.MacroFuzzEnvironment.compile = _remembering(compiled)  # type: ignore[method-assign]
    try:
        yield
    finally:
        jinja.MacroFuzzEnvironment.compile = compiled  # type: ignore[method-assign]
        TEMPLATES.save(folder)


def _remembering(compiled: Callable[..., Any]) -> Callable[..., Any]:
    def compile_once(environment: Any, source: Any, *arguments: Any, **options: Any) -> Any:
        if arguments or options or not isinstance(source, str) or jinja.MACRO_DEBUGGING:
            return compiled(environment, source, *arguments, **options)
        key = (type(environment).__name__, source)
        if key not in TEMPLATES.known:
            TEMPLATES.known[key] = compiled(environment, source)
        return TEMPLATES.known[key]

    return compile_once
