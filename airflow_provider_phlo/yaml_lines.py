"""A YAML file as plain values, with the line of every key; ``${VARIABLE}`` in its texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_phlo.exceptions import ConfigurationError

KeyPath = tuple[str, ...]
_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\{))")


# what people write, and the library has its own words for
_SAID = {
    "but found another document": "a second document begins: write one file for each",
    "found character '\\t'": "this is not YAML (a tab: indent by spaces)",
    "mapping values are not allowed": "this is not YAML (a colon within a value: quote it, or a line indented too far)",
}


def plain_yaml(path: Path) -> Any:
    """
    Return what a YAML file holds, without lines: by libyaml, several times as fast, where PyYAML has it.

    :raises OSError: it cannot be read.
    :raises yaml.YAMLError: it is not YAML.
    """
    return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe


class Document:
    """
    What a YAML file holds.

    :param path: the file; a missing or empty one holds nothing.
    :raises ConfigurationError: it is not YAML of nested keys: names file and line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        self.values: dict[str, Any] = {}
        try:
            loader = yaml.SafeLoader(path.read_bytes())
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise ConfigurationError(f"{path}: this is not YAML in UTF-8.") from None
        except RecursionError:
            raise ConfigurationError(f"{path}: this is nested too deeply.") from None
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError(f"{path}, line {_line(node)}: write KEY: VALUE.")
        self._loader = loader
        self._seen: set[int] = set()
        self.values = self._mapping(node, ())

    def where(self, key: KeyPath) -> str:
        """Return the file and the line of a key, or of the nearest key above it that the file has."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{self.path}, line {self.lines[key]}" if key else str(self.path)

    def _mapping(self, node: yaml.MappingNode, above: KeyPath) -> dict[str, Any]:
        found = {}
        for key_node, value_node in node.value:
            where = f"{self.path}, line {_line(key_node)}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigurationError(f"{where}: a key is one word.")
            key = str(key_node.value)
            if key in found:
                raise ConfigurationError(f"{where}: {'.'.join((*above, key))} is there twice.")
            self.lines[(*above, key)] = _line(key_node)
            found[key] = self._value(value_node, (*above, key))
        return found

    def _value(self, node: yaml.Node, key: KeyPath) -> Any:
        if id(node) in self._seen:  # endless ones, too
            raise ConfigurationError(f"{self.where(key)}: {'.'.join(key)}: anchors (&, *) are not supported here.")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*key, str(index))) for index, item in enumerate(node.value)]
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            raise ConfigurationError(f"{self.where(key)}: {'.'.join(key)}: this is not a plain value.") from None
        if isinstance(value, float) and not _is_kept(str(node.value), value):
            raise ConfigurationError(
                f"{self.where(key)}: {'.'.join(key)}: {node.value} has more digits than are kept: {value!r} is left."
            )
        return value

    def _item(self, node: yaml.Node, key: KeyPath) -> Any:
        self.lines[key] = _line(node)
        return self._value(node, key)

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> ConfigurationError:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        said = error.problem or "it ends too soon"
        plain = next((words for start, words in _SAID.items() if said.startswith(start)), f"this is not YAML ({said})")
        return ConfigurationError(f"{self.path}{line}: {plain}.")


def _is_kept(text: str, value: float) -> bool:
    """Return whether a number is what was written: a double holds some 17 digits."""
    try:
        return Decimal(text.replace("_", "")) == Decimal(repr(value))
    except InvalidOperation:  # an infinity, or minutes and seconds
        return True


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with what ``above`` says instead, key by key at every depth."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def interpolate(value: Any, variables: Mapping[str, str], where: Callable[[KeyPath], str], key: KeyPath = ()) -> Any:
    """
    Return ``value`` with ``${NAME}`` and ``${NAME:-default}`` in its texts replaced; ``$$`` is one dollar sign.

    :param where: says of a key where it is, for messages.
    :raises ConfigurationError: a variable without a default is not set, or ``${`` begins something else.
    """
    if isinstance(value, dict):
        return {name: interpolate(item, variables, where, (*key, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables, where, key) for item in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        dollar, name, default, broken = match.groups()
        if dollar:
            return "$"
        if broken:
            problem = "write ${NAME} or ${NAME:-default}; $$ is one dollar sign."
        elif default is not None:
            return variables.get(name) or str(default)
        elif name in variables:
            return variables[name]
        else:
            problem = f"{name} is not set: export it, set it in .env, or write ${{{name}:-default}}."
        raise ConfigurationError(f"{where(key)}: {problem}")

    return _VARIABLE.sub(replaced, value)
