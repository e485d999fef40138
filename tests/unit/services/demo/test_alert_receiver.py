"""The webhook that the demo starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from airflow_provider_phlo.services.demo.alert_receiver import AlertReceiver
from tests.patience import PATIENCE


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    receiver = AlertReceiver()
    yield receiver
    receiver.close()


def test_messages_are_kept_until_they_are_taken(receiver: AlertReceiver) -> None:
    assert requests.post(receiver.url, json={"text": "one"}, timeout=PATIENCE).status_code == 204
    assert requests.post(receiver.url, json={"text": "two"}, timeout=PATIENCE).status_code == 204
    assert receiver.taken() == ["one", "two"]
    assert receiver.taken() == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"title": "x"}', b"\xff"])
def test_what_is_not_a_message_is_refused(receiver: AlertReceiver, body: bytes) -> None:
    assert requests.post(receiver.url, data=body, timeout=PATIENCE).status_code == 404
    assert receiver.taken() == []


def test_its_address_is_a_secret(receiver: AlertReceiver) -> None:
    guessed = receiver.url.rpartition("/")[0] + "/alerts"
    assert requests.post(guessed, json={"text": "one"}, timeout=PATIENCE).status_code == 404
    assert receiver.url.startswith("http://127.0.0.1:")
    assert receiver.taken() == []
