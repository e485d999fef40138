"""The base class of validation schemas."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, get_origin

from pandera.api.dataframe.model_components import FieldInfo
from pandera.pandas import DataFrameModel, Field

from airflow_provider_phlo.schemas import dtypes  # noqa: F401 - registers time and UUID with Pandera


class PhloSchema(DataFrameModel):
    """
    A Pandera model that also knows columns whose name starts with an underscore.

    Pandera silently drops an attribute such as ``_id``. Here it becomes a column with that name: validated,
    converted to Iceberg, and usable as a key. Rows may have columns that the model does not declare (``strict=False``),
    and values are converted to the declared types (``coerce=True``).

    ::

        class Reading(PhloSchema):
            _id: str = Field(unique=True)
            value: float = Field(ge=0, le=600, description="mg/dL")
            taken_at: datetime
            note: str | None = Field(nullable=True)
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


def make_model(
    class_name: str,
    columns: Mapping[str, tuple[Any, Mapping[str, Any]]],
    doc: str | None = None,
    module: str = __name__,
) -> type[PhloSchema]:
    """
    Return a model with ``columns``, whatever they are called.

    :param columns: for each column, its annotation and the arguments of its ``Field``, with ``checks`` among them.
    :param module: the ``__module__`` of the class.
    """
    namespace: dict[str, Any] = {"__annotations__": {}, "__module__": module, "__doc__": doc}
    for position, (name, (annotation, options)) in enumerate(columns.items()):
        arguments = {key: value for key, value in options.items() if key != "checks"}
        attribute = name
        if not is_attribute(name, class_name, columns):
            attribute, arguments["alias"] = _unused(f"column_{position}", columns), name
        field = Field(**arguments)
        field.checks = [*field.checks, *options.get("checks", ())]
        namespace["__annotations__"][attribute] = annotation
        namespace[attribute] = field
    return type(class_name, (PhloSchema,), namespace)


def is_attribute(name: str, class_name: str, columns: Collection[str]) -> bool:
    """Return whether a class can have the attribute ``name``, and Pandera does not use it itself."""
    if not name.isidentifier() or name.startswith(("__", f"_{class_name.lstrip('_')}__")) or hasattr(PhloSchema, name):
        return False
    return not (name.startswith("_") and f"field_{name}" in columns)


def _unused(name: str, columns: Mapping[str, Any]) -> str:
    return _unused(f"{name}_", columns) if name in columns else name
