"""The base class of validation schemas."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, get_origin

from pandera.api.dataframe.model_components import FieldInfo
from pandera.pandas import DataFrameModel, Field


class PhloSchema(DataFrameModel):
    """
    A Pandera model that also knows columns whose name starts with an underscore.

    Pandera drops an attribute such as ``_id`` without a word. Here it becomes a column of that name: validated,
    converted to Iceberg, and usable as a key.
    """

    class Config:
        strict = False
        coerce = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        annotations = {}
        for name, annotation in inspect.get_annotations(cls).items():
            if _is_underscored(cls, name, annotation):
                field = cls.__dict__.get(name, Field())
                # Pandera accepts the name as an alias of an attribute that it does not drop.
                alias, name = name, f"field_{name}"
                setattr(cls, name, field)
                if isinstance(field, FieldInfo):  # Pandera refuses anything else
                    field.alias = field.alias or alias
                    field.__set_name__(cls, name)
            annotations[name] = annotation
        cls.__annotations__ = annotations
        super().__init_subclass__(**kwargs)


def _is_underscored(cls: type, name: str, annotation: Any) -> bool:
    mangled = f"_{cls.__name__.lstrip('_')}__"
    if not name.startswith("_") or name.startswith(("__", mangled)):
        return False
    if isinstance(annotation, str):
        return not annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is not ClassVar and get_origin(annotation) is not ClassVar
