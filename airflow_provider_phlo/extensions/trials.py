"""
Try a plugin out: does it keep what its kind promises, on the examples that its author gives?

An object's ``examples`` are mappings; docs/plugins.md says of what, for each kind. They run in a process of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from airflow_provider_phlo.extensions.apart import run_apart
from airflow_provider_phlo.extensions.outcomes import Trial, Verdict, expected, promised
from airflow_provider_phlo.extensions.states import Judgement, State
from airflow_provider_phlo.installed_plugins import Kind, Plugin
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.registry import resolve

_SECONDS = 120.0
_WITHOUT_EXAMPLES = "it has no examples to try: give it the attribute `examples` (docs/plugins.md)"


def try_out(judged: Judgement, arguments: Mapping[str, Any] | None = None) -> list[Trial]:
    """
    Try a plugin, in a process of its own.

    :param judged: what is known of it.
    :param arguments: for the call of a source, check or publisher, instead of those of its examples.
    """
    if judged.state not in (State.OK, State.SLOW):  # one that is slow is used, with a warning
        return [promised("it can be used", judged.why)]
    usable = expected("it can be used", judged.why)
    ended = run_apart(f"{__name__}:try_here", judged.plugin, _SECONDS, arguments=arguments)
    if ended.answer is None:
        return [usable, promised("its trial ends", ended.problem)]
    found = ended.answer["trials"]
    return [usable, *(Trial(each["what"], Verdict(each["verdict"]), printable(each["why"])) for each in found)]


def try_here(plugin: Plugin, *, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Try a plugin in this process; return the trials as JSON values."""
    from airflow_provider_phlo.extensions import promises

    found = resolve(plugin)
    try:
        examples = _examples(found, plugin.kind, arguments)
    except TypeError as error:
        return {"trials": [asdict(promised("its examples can be read", str(error)))]}
    if not examples:
        return {"trials": [asdict(promised("it has examples", _WITHOUT_EXAMPLES))]}
    trials = [trial for example in examples for trial in _trials(promises.OF[plugin.kind](found, example))]
    return {"trials": [asdict(trial) for trial in trials]}


def _trials(trials: Iterator[Trial]) -> Iterator[Trial]:
    """Yield trials; what a plugin's own code raises ends them."""
    try:
        yield from trials
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody's own code
        yield promised("it takes its example", describe(error))


def _examples(found: Any, kind: Kind, arguments: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """
    Return what to try.

    :raises TypeError: the author's examples are not mappings of what the kind takes.
    """
    if arguments is not None:
        return [{"arguments": dict(arguments)}]
    if kind is Kind.COMMANDS:
        return [{}]
    given = getattr(found, "examples", ())
    known = {
        Kind.SOURCE: {"arguments"},
        Kind.CHECK: {"arguments", "rows", "passed"},
        Kind.TRANSFORM: {"rows", "gives"},
        Kind.PUBLISHER: {"arguments"},
    }[kind]
    for example in given:
        if not isinstance(example, Mapping) or not set(example) <= known:
            raise TypeError(f"an example of a {kind} is a mapping of {', '.join(sorted(known))}; one is not")
    # a source only reads: what needs no arguments is its own example
    if not given and kind is Kind.SOURCE and not _required(found):
        return [{"arguments": {}}]
    return list(given)


def _required(found: Callable[..., Any]) -> list[str]:
    return [
        each.name
        for each in inspect.signature(found).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
