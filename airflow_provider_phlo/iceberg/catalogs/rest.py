"""A REST catalog: what it needs of requests, and whose settings its files are read with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pyiceberg.catalog.rest import RestCatalog, TableResponse
from pyiceberg.catalog.rest.auth import AUTH_MANAGER
from pyiceberg.io import FileIO
from pyiceberg.table import StagedTable, Table
from pyiceberg.typedef import EMPTY_DICT, Properties
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from airflow_provider_phlo.iceberg.catalogs.file_io import file_io


class ServedCatalog(RestCatalog):
    """PyIceberg's REST catalog, whose files are read with the settings of the connection and of the server only."""

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        signing: Properties = {AUTH_MANAGER: self._auth_manager} if self._auth_manager else {}
        return file_io({**self.properties, **properties, **signing}, location)

    def _response_to_table(self, identifier_tuple: tuple[str, ...], table_response: TableResponse) -> Table:
        table = super()._response_to_table(identifier_tuple, _without_properties(table_response))
        table.metadata = table_response.metadata
        return table

    def _response_to_staged_table(
        self, identifier_tuple: tuple[str, ...], table_response: TableResponse
    ) -> StagedTable:
        table = super()._response_to_staged_table(identifier_tuple, _without_properties(table_response))
        table.metadata = table_response.metadata
        return table


def _without_properties(response: TableResponse) -> TableResponse:
    metadata = response.metadata.model_copy(update={"properties": {}})
    return response.model_copy(update={"metadata": metadata})


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
