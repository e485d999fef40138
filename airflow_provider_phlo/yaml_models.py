"""The values of a YAML file as a pydantic model: every unknown key and wrong value is named with its line."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.model_errors import words_for
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.yaml_lines import Document, KeyPath

Model = TypeVar("Model", bound=BaseModel)


def checked(document: Document, model: type[Model]) -> Model:
    """
    Return the values of a file as what they stand for.

    :raises ConfigurationError: keys that are not known, and values of another kind, all of them by line.
    """
    problems = [
        f"{document.where(key)}: {'.'.join(key)} is not known.{_hint(key[-1], known)}"
        for key, known in _unknown(model, document.values, ())
    ]
    try:
        found = model.model_validate(document.values)
    except ValidationError as error:
        wrong: dict[KeyPath, str] = {}
        for each in error.errors(include_url=False, include_input=False):
            if each["type"] != "extra_forbidden":  # those are among the unknown ones
                # of what a value may be, the first says enough: not a number, and not a whole number either
                wrong.setdefault(_written_key(document.values, each["loc"], each["type"] == "missing"), words_for(each))
        problems += [
            f"{document.where(key)}: {'.'.join(key)}: {words}{'' if words[-1] in '.?' else '.'}"
            for key, words in wrong.items()
        ]
    if problems:
        raise ConfigurationError("\n".join(dict.fromkeys(problems)))
    return found


def _written_key(values: Any, location: Sequence[int | str], missing: bool) -> KeyPath:
    """Return a place as the file has it: pydantic also names what it took a value for (``float``, a model)."""
    key = []
    for number, part in enumerate(location):
        if part in values if isinstance(values, dict) else isinstance(values, list) and isinstance(part, int):
            values = values[part]
        elif not (missing and number == len(location) - 1):
            continue
        key.append(str(part))
    return tuple(key)


def _hint(word: str, known: Iterable[str]) -> str:
    known = list(known)
    return did_you_mean(word, known) or f" Known are {', '.join(known)}."


def _unknown(model: type[BaseModel], value: Any, above: KeyPath) -> Iterator[tuple[KeyPath, list[str]]]:
    """Yield the keys that a model does not have, with those that it has."""
    if not isinstance(value, dict):
        return
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for key, below in value.items():
        if key not in fields:
            yield (*above, key), list(fields)
            continue
        for inside, item, kind in _members(fields[key], below):
            yield from _unknown(kind, item, (*above, key, *inside))


def _members(annotation: Any, value: Any) -> Iterator[tuple[KeyPath, Any, type[BaseModel]]]:
    """Yield the values of a field that models are for: itself, the members of a list, those that have names."""
    model = _model_in(annotation, None)
    if model is not None:
        yield (), value, model
    elif isinstance(value, list) and (model := _model_in(annotation, list)):
        yield from (((str(index),), item, model) for index, item in enumerate(value))
    elif isinstance(value, dict) and (model := _model_in(annotation, dict)):
        yield from (((name,), item, model) for name, item in value.items())


def _model_in(annotation: Any, container: type | None) -> type[BaseModel] | None:
    """
    Return the model that the value of a field is of.

    :param container: list or dict where its members are meant.
    """
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        found = (_model_in(each, container) for each in typing.get_args(annotation))
        return next(filter(None, found), None)
    if origin in (list, dict):
        return _model_in(typing.get_args(annotation)[-1], None) if origin is container else None
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model and container is None else None
