"""Texts of a column that holds JSON: those that are JSON stay, others become JSON strings."""

from __future__ import annotations

from operator import is_

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.schemas.conversion.storable import TEXT, Values, decode
from airflow_provider_phlo.schemas.values import is_json, json_text

# about as many as fit into a processor's cache
_AT_A_TIME = 1_000
_LINES = msgspec.json.Decoder(msgspec.Raw)
# brackets and braces differ in this bit alone
_BRACE = 0x20


def text_as_json(values: Values) -> Values:
    """Return ``values`` with JSON in the place of text, for a column that holds JSON."""
    if not isinstance(values, pa.ChunkedArray):
        return [json_text(value) if isinstance(value, str) else value for value in values]
    if pa.types.is_dictionary(values.type):
        values = decode(values)
    if not any(matches(values.type) for matches in TEXT):
        return values
    texts = values.cast(pa.string())
    parts = [chunk.slice(start, _AT_A_TIME) for chunk in texts.chunks for start in range(0, len(chunk), _AT_A_TIME)]
    found = [part if _are_containers(part) else _one_by_one(part) for part in parts]
    return values if all(map(is_, found, parts)) else pa.chunked_array(found, pa.string())


def not_json(values: pa.ChunkedArray) -> list[int]:
    """Return the positions of the texts of Arrow's JSON type that are not JSON; nothing checks them before."""
    if not isinstance(values.type, pa.JsonType):
        return []
    found: list[int] = []
    texts = values.cast(values.type.storage_type).cast(pa.string())
    for start in range(0, len(texts), _AT_A_TIME):
        part = texts.slice(start, _AT_A_TIME)
        if not _are_containers(part.combine_chunks()):
            found += [start + at for at, each in enumerate(part.to_pylist()) if each is not None and not is_json(each)]
    return found


def _are_containers(texts: pa.StringArray) -> bool:
    """
    Return whether all texts are JSON objects or lists, by reading them in one go; False if that does not show it.

    Each begins with an opening bracket and ends with a closing one, and a line break is between them. JSON has no line
    break inside a string, and no opening bracket right after a closing one inside an object or list: so no value goes
    on from one text to the next, and as many values as texts means one value in each.
    """
    if texts.null_count:
        texts = texts.drop_null()
    if not len(texts):
        return True
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if not (np.diff(offsets) > 0).all():
        return False
    characters = np.frombuffer(data, np.uint8)
    first, last = characters[offsets[:-1]] | _BRACE, characters[offsets[1:] - 1] | _BRACE
    if (first != ord("{")).any() or (last != ord("}")).any():
        return False
    try:
        texts.validate(full=True)  # the decoder does not look at what is inside of strings
        [lines] = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), "\n")
        return len(_LINES.decode_lines(lines.as_buffer())) == len(texts)
    except (ValueError, RecursionError):  # at least one is not JSON, or is nested so deep that another decoder decides
        return False


def _one_by_one(part: pa.StringArray) -> pa.StringArray:
    encoded = part.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    found = [*map(json_text, texts)]
    return part if all(map(is_, found, texts)) else pa.array(found, pa.string()).take(encoded.indices)
