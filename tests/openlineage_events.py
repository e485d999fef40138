"""OpenLineage events, checked by the JSON schemas that OpenLineage publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import referencing

from airflow_provider_phlo.lineage.exports.facets import PRODUCER

SPEC = Path(__file__).parent / "fixtures" / "openlineage"


@cache
def _schemas() -> referencing.Registry[Any]:
    found = [json.loads(path.read_text()) for path in SPEC.glob("*.json")]
    return referencing.Registry().with_resources(
        [(schema["$id"], referencing.Resource.from_contents(schema)) for schema in found]
    )


def check(value: Any, url: str) -> None:
    """Check a value by the schema that it names; the client may know an older version of a facet than we have."""
    name = url.partition("#")[0].rpartition("/")[2]
    known = next((each for each in _schemas() if each.rpartition("/")[2] == name), None)
    assert known, f"no schema for {url}"
    schema = {"$ref": f"{known}#{url.partition('#')[2]}"}
    jsonschema.Draft202012Validator(schema, registry=_schemas(), format_checker=jsonschema.FormatChecker()).validate(
        value
    )


def checked_facets(event: Mapping[str, Any]) -> dict[str, int]:
    """Check an event and our facets in it; return how many there are of each name."""
    check(event, event["schemaURL"])
    counts: dict[str, int] = {}
    for name, facet in _facets(event):
        if facet["_producer"] == PRODUCER:
            check(facet, facet["_schemaURL"])
            counts[name] = counts.get(name, 0) + 1
    return counts


def _facets(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    datasets = [
        *event.get("inputs", []),
        *event.get("outputs", []),
        *([event["dataset"]] if "dataset" in event else []),
    ]
    for holder in [*datasets, event.get("run", {}), event.get("job", {})]:
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from (holder.get(kind) or {}).items()
