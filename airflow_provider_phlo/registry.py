"""
Plugins by name: sources, checks, transforms, publishers and commands of installed packages.

A plugin is imported only when somebody names it, so one that is broken harms nobody else. Whoever names one that
cannot be used gets an error that says why; nothing is left out in silence.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, TransientError
from airflow_provider_phlo.installed_plugins import Kind, Plugin, called, installed_plugins
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.suggestions import did_you_mean

log = logging.getLogger(__name__)

#: Seconds after which the import of a plugin is called slow: every DAG file and task that names it waits for it.
SLOW_SECONDS = 1.0
#: Seconds after which it is given up; Airflow gives a whole DAG file 30.
LIMIT_SECONDS = 20.0
_WHERE = "phlo plugin list shows it."
_LONGEST_TEXT = 200


class ImportTimeout(BaseException):
    """An import has taken too long; not an ``Exception``, which the code that is imported may catch."""


def transform(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    """
    Return the transform that ``reference`` names.

    :param reference: a callable Arrow → Arrow, or the name of an entry point of ``phlo.transforms``.
    :raises ConfigurationError: there is no such plugin, or it cannot be used.
    """
    return reference if callable(reference) else _named(Kind.TRANSFORM, reference)


def check(name: str) -> Callable[..., Any]:
    """
    Return the check class that is registered as ``name`` in ``phlo.checks``.

    ::

        audit=[registry.check("threshold_check")(column="value", max_value=500)]

    :raises ConfigurationError: there is no such plugin, or it cannot be used.
    """
    return _named(Kind.CHECK, name)


def source(name: str) -> Callable[..., Any]:
    """
    Return the function that is registered as ``name`` in ``phlo.sources``.

    ::

        @phlo_ingestion("posts", "id", "include.schemas.posts:Post", "demo")
        def posts():
            return registry.source("jsonplaceholder")(resource="posts")

    :raises ConfigurationError: there is no such plugin, or it cannot be used.
    """
    return _named(Kind.SOURCE, name)


def publisher(name: str) -> Callable[..., Any]:
    """
    Return the publisher class that is registered as ``name`` in ``phlo.publishers``.

    :raises ConfigurationError: there is no such plugin, or it cannot be used.
    """
    return _named(Kind.PUBLISHER, name)


def require(kind: Kind, name: str) -> Plugin:
    """
    Return the plugin of a name, without importing it.

    :param name: ``name``, or ``package:name`` where two packages have one of that name.
    :raises ConfigurationError: there is none, it is written for another version of the interface, or there are two.
    """
    declared = [plugin for plugin in installed_plugins() if plugin.kind is kind]
    found = called(name, declared)
    if not found:
        names = sorted({plugin.name for plugin in declared})
        raise ConfigurationError(
            f"There is no {_noun(kind)} {printable(name)!r}; installed: {', '.join(names) or 'none'}."
            f"{did_you_mean(name, names)}"
        )
    usable = [plugin for plugin in found if not plugin.incompatible]
    if not usable:
        raise ConfigurationError(f"The {found[0]} cannot be used: {found[0].incompatible}.")
    if len(usable) > 1:
        raise ConfigurationError(f"The {_noun(kind)} {usable[0].name!r} {several(usable)}.")
    for other in found:
        if other.incompatible:
            _warn_once(f"The {other} is skipped: {other.incompatible}.")
    return usable[0]


def several(plugins: list[Plugin]) -> str:
    """Return what is to be done about plugins of one kind and one name."""
    names = sorted({plugin.package for plugin in plugins})
    if len(names) == 1:
        return f"is declared {len(plugins)} times by {names[0]}: ask its author"
    of = " and ".join(f"{plugin.package} {plugin.version}" for plugin in plugins)
    return f"is in several packages, {of}: uninstall one, or name '{names[0]}:{plugins[0].name}'"


def load(plugin: Plugin) -> Any:
    """
    Import a plugin; what fails once is not tried again in this process.

    :raises ConfigurationError: it cannot be imported.
    :raises TransientError: not in time: the machine may be busy.
    """
    failed = _failed.get(plugin)
    if failed is None:
        try:
            with _noticed(plugin):
                return resolve(plugin)
        except BaseException as error:
            if is_for_others(error):
                raise
            late = isinstance(error, ImportTimeout)
            failed = _failed[plugin] = (TransientError if late else ConfigurationError, why(error))
    kind, problem = failed
    raise kind(f"The {plugin} cannot be used: {problem}. {_WHERE}")


def resolve(plugin: Plugin) -> Any:
    """
    Import a plugin and return it, whatever that raises.

    :raises ConfigurationError: it is not what its kind is.
    """
    if not plugin.module:
        raise ConfigurationError(f"its entry point {plugin.reference!r} is not written as module:attribute")
    found = functools.reduce(getattr, plugin.attribute.split("."), importlib.import_module(plugin.module))
    problem = _misfit(plugin, found)
    if problem:
        raise ConfigurationError(problem)
    return found


def _misfit(plugin: Plugin, found: Any) -> str:
    """Return why an object is not what its kind is; empty if it is."""
    if plugin.kind is Kind.COMMANDS:
        is_group = all(hasattr(found, name) for name in ("name", "help")) and isinstance(
            getattr(found, "commands", None), tuple | list
        )
        return "" if is_group else f"{plugin.reference} is not a Group of Commands of airflow_provider_phlo.cli"
    if not callable(found):
        return f"{plugin.reference} is not a function or a class, and a {plugin.kind} is called"
    if plugin.kind is Kind.CHECK:
        # whoever makes a class of it has imported it
        base = getattr(sys.modules.get("airflow_provider_phlo.quality.base"), "QualityCheck", None)
        if base is None or not (isinstance(found, type) and issubclass(found, base)):
            return f"{plugin.reference} is not a class made of airflow_provider_phlo.quality.QualityCheck"
        if inspect.isabstract(found):
            missing: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
            return f"{plugin.reference} lacks {', '.join(sorted(missing))}"
    if plugin.kind is Kind.PUBLISHER and isinstance(found, type) and not callable(getattr(found, "publish", None)):
        return f"{plugin.reference} has no method publish(marts)"
    return ""


def is_for_others(error: BaseException) -> bool:
    """Return whether what an import has raised came from outside of it: Ctrl-C, or Airflow's own time limit."""
    return isinstance(error, KeyboardInterrupt) or (
        not isinstance(error, Exception) and type(error).__module__.partition(".")[0] == "airflow"
    )


def why(error: BaseException, *, text: bool = False) -> str:
    """
    Return why an import failed, in words, with the place in the code that was imported.

    :param text: whether to repeat what the error says, for those who ask about the plugin itself.
    """
    if isinstance(error, ImportTimeout):
        return f"its import had not ended after {LIMIT_SECONDS:.0f} s"
    if isinstance(error, SystemExit):
        return "its import ends the program (SystemExit)"
    if isinstance(error, SyntaxError):
        return printable(f"{type(error).__name__} in {error.filename}, line {error.lineno}")
    if isinstance(error, AttributeError) and isinstance(error.obj, type(importlib)):
        return printable(f"the module {error.obj.__name__} has no {error.name!r}")
    if isinstance(error, ConfigurationError):
        return printable(str(error)).rstrip(".")
    said = f"{type(error).__name__}{_place(error)}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        said += f": {error.name} is not installed"
    elif text and str(error):
        said += f": {str(error).splitlines()[0][:_LONGEST_TEXT]}"
    return printable(said).rstrip(".")


def _place(error: BaseException) -> str:
    """Return the last line of code that the import reached, but for Python's own and this module's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith("<frozen importlib") and frame.filename not in (__file__, importlib.__file__):
            return f" in {os.path.basename(frame.filename)}, line {frame.lineno}"
    return ""


_failed: dict[Plugin, tuple[type[PhloError], str]] = {}


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)


def _named(kind: Kind, name: str) -> Any:
    return load(require(kind, name))


def _noun(kind: Kind) -> str:
    return "group of commands" if kind is Kind.COMMANDS else str(kind)


@contextmanager
def _noticed(plugin: Plugin) -> Iterator[None]:
    """Warn if an import takes long; end it if it takes too long."""
    started = time.monotonic()
    with import_limit(LIMIT_SECONDS):
        yield
    seconds = time.monotonic() - started
    if seconds > SLOW_SECONDS:
        _warn_once(
            f"The {plugin} took {seconds:.1f} s to import, which every DAG file and task that names it waits for: what "
            "is heavy belongs inside its functions."
        )


@contextmanager
def import_limit(seconds: float) -> Iterator[None]:
    """
    End what runs inside when ``seconds`` have passed; only in the main thread, where signals arrive.

    An alarm of somebody else's (Airflow sets one for a DAG file) that would come before is left alone, and one that
    comes later is set again.

    :raises ImportTimeout: the time has passed.
    """
    others = signal.getitimer(signal.ITIMER_REAL)[0]
    if threading.current_thread() is not threading.main_thread() or 0 < others <= seconds:
        yield
        return
    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if others:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, others - (time.monotonic() - started)))


def _end(number: int, frame: FrameType | None) -> None:
    raise ImportTimeout
