from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_phlo.catalogs.openmetadata.server import OpenMetadata
from tests.openmetadata_server import TOKEN, FakeOpenMetadata, running_openmetadata


@pytest.fixture
def fake() -> Iterator[FakeOpenMetadata]:
    """The server that the tests ask of."""
    with running_openmetadata() as found:
        yield found


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that the client has waited."""
    return []


@pytest.fixture
def server(fake: FakeOpenMetadata, pauses: list[float]) -> OpenMetadata:
    return OpenMetadata(fake.url, TOKEN, sleep=pauses.append)
