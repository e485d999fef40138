"""
Which assets are meant: names and selectors, as dbt has them.

``raw.events`` or ``events`` (a name, where it is the only one), ``raw.*``, ``group:github``, ``tag:dbt``,
``path:models/glucose``, ``dag:glucose_platform``; ``+x`` and ``2+x`` with what it is made from, ``x+`` and ``x+2`` with
what is made from it. A comma joins selectors that must all apply, a space those of which one must. A name of an asset
is that asset, whole or without its namespace, also where it has a comma, a space or a colon in it, and among others.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.assets import Asset, AssetMap
from airflow_provider_phlo.suggestions import did_you_mean

_STEPS = re.compile(r"(?:(?P<before>\d*)\+)?(?P<body>.*?)(?:\+(?P<after>\d*))?", re.DOTALL)
_MOST_STEPS = 10_000
_METHODS: dict[str, Callable[[Asset, str], bool]] = {
    "group": lambda asset, value: asset.group == value,
    "tag": lambda asset, value: value in asset.tags,
    "path": lambda asset, value: any(_is_below(path, value) for path in asset.paths),
    "dag": lambda asset, value: value in asset.dag_ids,
}
_SHOWN = 8


@dataclass(frozen=True)
class Selection:
    """
    What is meant.

    :param assets: names of assets, in alphabetical order.
    :param whole_dags: DAGs that were named by nothing but ``dag:``: tasks that make no assets belong to them too.
    """

    assets: tuple[str, ...]
    whole_dags: tuple[str, ...]


def select_assets(assets: AssetMap, selectors: Sequence[str]) -> Selection:
    """
    Return which assets are meant.

    :param selectors: several are a union.
    :raises ConfigurationError: a name is not known, or more than one asset has it; a selector is not one, or finds
        nothing; nothing makes what was named. Says what was meant, perhaps.
    """
    found: set[str] = set()
    whole: list[str] = []
    for selector in (word for given in selectors for word in _parts(assets, given, None)):
        dag_id = selector.removeprefix("dag:")
        if dag_id != selector and dag_id in assets.dags and selector not in _names(assets):
            whole.append(dag_id)
            found |= {name for name, asset in assets.assets.items() if dag_id in asset.dag_ids}
            continue
        parts = [_evaluated(assets, part, selector) for part in _parts(assets, selector, ",")]
        both = frozenset.intersection(*parts)
        if not both:
            raise ConfigurationError(f"No asset is selected by all of {selector}.")
        found |= both
    if not found and not whole:
        raise ConfigurationError("No asset is named.")
    return Selection(tuple(sorted(found)), tuple(dict.fromkeys(whole)))


def _whole_name(assets: AssetMap, text: str) -> str:
    """Return the asset that has this name or URI, letter by letter; nothing if none has."""
    if text in assets.assets:
        return text
    return next((name for name, asset in assets.assets.items() if asset.uri == text), "")


def _names(assets: AssetMap) -> set[str]:
    """Return all by which an asset can be named: whole, by its URI, without its namespace, as a model."""
    every = assets.assets.values()
    return {name for asset in every for name in (asset.name, asset.uri, asset.short_name, asset.model) if name}


def _parts(assets: AssetMap, text: str, separator: str | None) -> list[str]:
    """Return what a text joins; a name with the separator in it, perhaps with steps around it, stays whole."""
    names = _names(assets)
    steps = _STEPS.fullmatch(text)
    if text in names or (steps and steps["body"] in names):
        return [text]
    odd = sorted((name for name in names if len(name.split(separator)) > 1), key=len, reverse=True)
    if not odd:
        return text.split(separator)
    # numbers in place of the names, since those have the separator in them
    whole = re.compile(rf"(?<![^\s,+])(?:{'|'.join(map(re.escape, odd))})(?![^\s,+])")
    held = whole.sub(lambda found: f"\0{odd.index(found[0])}\0", text)
    return [re.sub("\0(\\d+)\0", lambda found: odd[int(found[1])], part) for part in held.split(separator)]


def _evaluated(assets: AssetMap, part: str, selector: str) -> frozenset[str]:
    names = _names(assets)
    name = part if part in names else ""
    steps = _STEPS.fullmatch("" if name else part)
    body = name or (steps["body"] if steps else "")
    if steps is None or not body or ("+" in body and body not in names):
        raise ConfigurationError(
            f"{selector!r} is not a selector: write a name, group:, tag:, path: or dag:, with + before or after."
        )
    core = _core(assets, body)
    found = set(core)
    for number, neighbours in ((steps["before"], assets.upstream), (steps["after"], assets.downstream)):
        if number is not None:
            found |= _around(core, neighbours, int(number) if number else _MOST_STEPS)
    # what nobody makes is not made: a source of its own, or made outside of Airflow
    made = frozenset(name for name in found if assets.assets[name].makers)
    if not made:
        raise ConfigurationError(
            f"No DAG makes {', '.join(sorted(core))}: it is read only, or its DAG is gone.{_broken(assets)}"
        )
    return made


def _core(assets: AssetMap, body: str) -> frozenset[str]:
    if name := _whole_name(assets, body):
        return frozenset({name})
    if body in _names(assets):
        return frozenset({_named(assets, body)})
    method, colon, value = body.partition(":")
    if colon and method in _METHODS and not value:
        known = ", ".join(sorted(_values(assets, method))) or "none"
        raise ConfigurationError(f"{body} selects nothing: write what follows the colon. There is {known}.")
    if colon and method in _METHODS:
        found = {name for name, asset in assets.assets.items() if _METHODS[method](asset, value)}
        if not found:
            hint = did_you_mean(value, sorted(_values(assets, method)))
            raise ConfigurationError(f"No asset has {body}.{hint}{_broken(assets)}")
        return frozenset(found)
    if "*" in body or "?" in body:
        found = {name for name in assets.assets if fnmatchcase(name, body)}
        if not found:
            raise ConfigurationError(f"No asset is called {body}.{_broken(assets)}")
        return frozenset(found)
    return frozenset({_named(assets, body)})


def _named(assets: AssetMap, name: str) -> str:
    ways: tuple[Callable[[Asset], bool], ...] = (
        lambda asset: asset.in_lake and name in (asset.short_name, asset.model),
        lambda asset: name in (asset.short_name, asset.model),
    )
    for fits in ways:
        found = sorted(key for key, asset in assets.assets.items() if fits(asset))
        if len(found) > 1:
            raise ConfigurationError(f"{name} may be {' or '.join(found)}: name one, or write both.")
        if found:
            return found[0]
    known = [*assets.assets, *(asset.short_name for asset in assets.assets.values())]
    # quoted as the shell needs it: a name with a space would come in two
    hint = did_you_mean(name, sorted(set(known)), shlex.quote)
    if any(key.startswith(f"{name}.") for key in assets.assets):
        hint = f' Did you mean "{name}.*"?'
    if name in assets.dags:
        hint = f" It is a DAG: write dag:{name}."
    raise ConfigurationError(f"No asset is called {name}.{hint or _those_known(assets)}{_broken(assets)}")


def _around(core: Iterable[str], neighbours: Callable[[str], frozenset[str]], most: int) -> set[str]:
    found: set[str] = set()
    edge = set(core)
    for _ in range(most):
        edge = {other for name in edge for other in neighbours(name)} - found
        if not edge:
            break
        found |= edge
    return found


def _is_below(path: str, wanted: str) -> bool:
    given = PurePosixPath(wanted)
    parts = PurePosixPath(path).parts
    # the folder of the dbt project need not be written: path:models/glucose
    return any(parts[start : start + len(given.parts)] == given.parts for start in range(len(parts)))


def _values(assets: AssetMap, method: str) -> set[str]:
    every = assets.assets.values()
    values: dict[str, Iterable[str]] = {
        "group": (asset.group for asset in every),
        "tag": (tag for asset in every for tag in asset.tags),
        "path": (str(PurePosixPath(path).parent) for asset in every for path in asset.paths),
        "dag": assets.dags,
    }
    return set(values[method])


def _those_known(assets: AssetMap) -> str:
    made = sorted(name for name, asset in assets.assets.items() if asset.makers)
    if not made:
        return " No DAG makes assets yet: Airflow reads a new file within half a minute."
    more = f" and {len(made) - _SHOWN} more" if len(made) > _SHOWN else ""
    return f" There are {', '.join(map(shlex.quote, made[:_SHOWN]))}{more}."


def _broken(assets: AssetMap) -> str:
    """Return which DAG files cannot be read: what is missing may be in there, or in one that is read and not kept."""
    errors = assets.api.import_errors()
    if not errors:
        return (
            " If its DAG file is there: phlo services logs dag-processor says why Airflow does not keep what is in it."
        )
    return "".join(
        f" {file} cannot be imported: {(trace.strip().splitlines() or ['?'])[-1].strip().rstrip('.')}."
        for file, trace in errors.items()
    )
