"""Schemathesis sends what the OpenAPI document allows and what it does not, and judges the answers."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from airflow_provider_phlo.ui.alone import create_alone_app
from tests.sizes import size

HEADERS = {"Authorization": "Bearer of-the-tests"}


@pytest.fixture
def by_document(published):
    app = create_alone_app(lambda: published, host="0.0.0.0", token="of-the-tests", airflow=None)
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)


schema = schemathesis.pytest.from_fixture("by_document")


@pytest.mark.long
@schema.parametrize()
@settings(max_examples=size(10, 1000), deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_the_document_says(case):
    # there is no Airflow here, and it says so
    excluded = [not_a_server_error] if case.method == "POST" else []
    case.call_and_validate(headers=HEADERS, excluded_checks=excluded)
