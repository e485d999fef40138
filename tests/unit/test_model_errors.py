"""Whatever is wrong with a value in a file, no words of pydantic reach the person who wrote it."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import BaseModel, ValidationError

from airflow_provider_phlo.alerts.rules.configuration import Configuration as Alerts
from airflow_provider_phlo.contracts.forms.short_form import ShortContract
from airflow_provider_phlo.model_errors import words_for
from airflow_provider_phlo.services.environment.configuration import Configuration as Project

LIBRARY = re.compile(r"\b(Input|Field|String|List|Dictionary|Value|Tuple|Object|Decimal) (should|required|error)\b")
WRONG: tuple[Any, ...] = (
    *(None, "", "x", "x" * 100_000, -1, 0, 10**30, 1.5, float("nan"), float("inf"), 1e300, True, b"\xff"),
    *([], ["x"], [None], [{}], {}, {"x": 1}, {"x": None}, {1: 2}),
)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for each in typing.get_args(annotation):
            yield from models_in(each)


def with_parts(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    todo = [model]
    while todo:
        each = todo.pop()
        if each.__name__ not in found:
            found[each.__name__] = each
            todo += [part for field in each.model_fields.values() for part in models_in(field.annotation)]
    return found


@pytest.mark.parametrize("model", [Alerts, ShortContract, Project, OpenDataContractStandard])
def test_no_words_of_pydantic(model: type[BaseModel]) -> None:
    seen = set()
    for part in with_parts(model).values():
        for name, field in part.model_fields.items():
            for value in WRONG:
                try:
                    part.model_validate({field.alias or name: value})
                except ValidationError as error:
                    for each in error.errors(include_url=False):
                        words = words_for(each)
                        assert not LIBRARY.search(words), (part.__name__, name, each["type"], words)
                        seen.add(each["type"])
    assert {"missing", "string_type"} & seen
