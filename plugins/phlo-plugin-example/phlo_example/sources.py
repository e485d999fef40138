"""A source: the resources of https://jsonplaceholder.typicode.com, or of a server that is like it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError

RESOURCES = ("albums", "comments", "photos", "posts", "todos", "users")


def jsonplaceholder(
    resource: str = "posts", base_url: str = "https://jsonplaceholder.typicode.com"
) -> Iterator[list[dict[str, Any]]]:
    """
    Yield the records of a resource.

    :param resource: which: albums, comments, photos, posts, todos or users.
    :param base_url: the root of the API.
    :raises ConfigurationError: there is no such resource.
    :raises SourceUnavailableError: the server does not answer.
    """
    if resource not in RESOURCES:
        raise ConfigurationError(f"There is no resource {resource!r}: choose one of {', '.join(RESOURCES)}.")
    return _pages(resource, base_url)


def _pages(resource: str, base_url: str) -> Iterator[list[dict[str, Any]]]:
    # what takes time to import is imported when it is used: DAG files import this module
    from airflow_provider_phlo.sources.http import JsonClient, records

    client = JsonClient(base_url, conn_id="jsonplaceholder")
    yield records(client, f"/{resource}", client.get(f"/{resource}").body)
