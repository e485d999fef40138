"""What pydantic finds wrong with a value, in the words of whoever wrote the value, which is left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NUMBER, _WHOLE, _KEYS = "has to be a number", "has to be a whole number", "has to be keys with values"
_WORDS = {
    "missing": "is missing",
    "string_type": "has to be text: write it in quotes",
    "string_unicode": "has to be text",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "is a number with too many digits",
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "has to be a finite number",
    "bool_type": "has to be true or false",
    "bool_parsing": "has to be true or false",
    "list_type": "has to be a list",
    "dict_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be at least {ge}",
    "less_than": "has to be less than {lt}",
    "less_than_equal": "has to be at most {le}",
    "string_too_short": "has to have at least {min_length} characters",
    "string_too_long": "has to have at most {max_length} characters",
    "string_pattern_mismatch": "has to match {pattern}",
    "too_short": "has to have at least {min_length}, and has {actual_length}",
    "too_long": "has to have at most {max_length}, and has {actual_length}",
    "literal_error": "has to be {expected}",
    "enum": "has to be {expected}",
    "time_delta_type": "has to be a length of time",
    "time_delta_parsing": "has to be a length of time",
    "extra_forbidden": "is not known",
}


def words_for(error: ErrorDetails) -> str:
    """Return what is wrong, as what follows the name of the key; without its value."""
    if error["type"] == "string_too_short" and error.get("ctx", {}).get("min_length") == 1:
        return "must not be empty"
    words = _WORDS.get(error["type"])
    if words is None:
        text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return re.sub(r"^(Input|Value) should ", "has to ", text)
    return words.format(**error.get("ctx", {}))
