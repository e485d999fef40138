"""What reaches no log: tests/services/test_secrets.py looks for it in those of a real scheduler."""

from __future__ import annotations

import pytest
from airflow.sdk._shared.secrets_masker import redact

from airflow_provider_phlo.connections import ALLOWED_EXTRAS, mask_secrets


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({"credential": "client:a secret one"}, "invalid client: a secret one"),
        ({"token": "a.token.one"}, "Bearer a.token.one"),
        ({"s3.secret-access-key": "wJalr/key"}, "signed with wJalr/key"),
        ({"client.session-token": "session/1"}, "session/1"),
        ({"gcs.oauth2.token": "ya29.token"}, "ya29.token"),
        ({"uri": "postgresql://me:p%40ss%2Fword@db/c"}, "p%40ss%2Fword or p@ss/word"),
    ],
)
def test_secrets_are_masked_however_they_are_spelled(properties: dict[str, str], text: str) -> None:
    mask_secrets(properties)
    [value] = properties.values()
    secret = value.partition("://")[2].partition("@")[0] if "://" in value else value
    masked = str(redact(text))
    assert "***" in masked
    assert all(part not in masked for part in secret.split(":")[1:] or [secret])
    assert "p@ss/word" not in masked


def test_no_extra_names_code_or_headers() -> None:
    refused = {"py-io-impl", "s3.retry-strategy-impl", "auth", "auth.manager", "s3.signer", "py-catalog-impl"}
    assert not ALLOWED_EXTRAS & refused
    assert not [name for name in ALLOWED_EXTRAS if name.startswith("header.")]
