"""What a REST catalog needs of a request and PyIceberg does not send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter


class LastColumnIds(HTTPAdapter):
    """
    Say with every new schema which column id is the highest.

    Iceberg's REST API has made the field optional, and PyIceberg no longer sends it; Nessie answers 500 without it
    (projectnessie/nessie#11341, all releases whose server is a plain jar).
    """

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        if request.method == "POST" and b'"add-schema"' in _body(request):
            request.prepare_body(json.dumps(_completed(json.loads(_body(request)))).encode(), None)
        return super().send(request, *args, **kwargs)


def _body(request: PreparedRequest) -> bytes:
    return request.body if isinstance(request.body, bytes) else b""


def _completed(commit: dict[str, Any]) -> dict[str, Any]:
    # ids of columns that were removed count too: PyIceberg requires the highest one that was ever given
    given = [required.get("last-assigned-field-id", 0) for required in commit.get("requirements", ())]
    for update in commit.get("updates", ()):
        if update.get("action") == "add-schema":
            update.setdefault("last-column-id", max([*_field_ids(update["schema"]), *given]))
    return commit


def _field_ids(schema: Any) -> Iterator[int]:
    """Yield the ids of all fields, nested ones too: of structs, list elements, map keys and values."""
    if isinstance(schema, dict):
        yield from (schema[name] for name in ("id", "element-id", "key-id", "value-id") if name in schema)
    for child in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(child, (dict, list)):
            yield from _field_ids(child)
