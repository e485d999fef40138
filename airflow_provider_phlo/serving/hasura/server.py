"""
Hasura's metadata API: export, and replace what was exported, unless somebody was faster.

Every change has the version of the metadata that it was made of (``resource_version``). So it can be sent again where
the answer is lost: if it was carried out, the server says that there is a newer version, and that has nothing to
change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.servers.asking_again import ask
from airflow_provider_phlo.servers.transport import Answer, Transport
from airflow_provider_phlo.sources.address import LOOPBACK, origin

_PATH = "/v1/metadata"
_MOST_SAID = 300


class ConflictError(CommitConflictError):
    """Somebody has changed the metadata since it was read."""


@dataclass
class HasuraServer:
    """
    One server, as its administrator.

    :param url: its address.
    :param secret: the admin secret; it goes to this server and to no other.
    :param setting: where address and secret are set, for messages.
    :param patience: seconds to wait for an answer.
    :param sleep: pauses for that many seconds.
    :raises ConfigurationError: the address is not that of a server that may get the secret.
    """

    url: str
    secret: str = field(repr=False)
    setting: str = "HASURA_GRAPHQL_ENDPOINT"
    patience: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/").removesuffix("/v1/graphql").removesuffix(_PATH)
        found = origin(self.url)
        if found is None or "?" in self.url or "#" in self.url:
            raise ConfigurationError(
                f"{self.setting} is not a URL such as https://hasura.example.com, without user name and query."
            )
        if found[0] == "http" and found[1] not in LOOPBACK and "." in found[1]:
            raise ConfigurationError(
                f"{self.setting}: the admin secret is not sent to {found[1]} over http, where others could read it. "
                "Use https."
            )
        if not (self.secret.isascii() and self.secret.isprintable()):
            raise ConfigurationError(f"{self.setting}: the admin secret has a character that no header can carry.")
        self._transport = Transport(self.url, self.patience, of="Hasura")

    def export(self) -> tuple[Mapping[str, Any], int]:
        """
        Return the server's metadata, and its version.

        :raises ConfigurationError: the secret is wrong, or this is not a Hasura of version 2.
        :raises ServerUnavailableError: every attempt failed.
        """
        body = self._send({"type": "export_metadata", "version": 2, "args": {}}).body
        if not (
            isinstance(body, dict)
            and isinstance(body.get("metadata"), dict)
            and isinstance(body.get("resource_version"), int)
        ):
            raise ConfigurationError(
                f"{self.url} answers as no Hasura of version 2 or later does: look at its address ({self.setting})."
            )
        return body["metadata"], body["resource_version"]

    def replace(self, document: Mapping[str, Any], version: int) -> None:
        """
        Replace the server's metadata.

        :param version: of the metadata that the document was made of.
        :raises ConflictError: there is a newer one; nothing was changed.
        :raises ConfigurationError: the server does not take the document; nothing was changed.
        :raises ServerUnavailableError: every attempt failed.
        """
        arguments = {"allow_inconsistent_metadata": False, "metadata": document}
        self._send({"type": "replace_metadata", "version": 2, "resource_version": version, "args": arguments})

    def _send(self, body: Mapping[str, Any]) -> Answer:
        headers = {"X-Hasura-Admin-Secret": self.secret} if self.secret else {}
        answer = ask(
            lambda: self._transport.send("POST", _PATH, body, headers),
            lambda answer: f"Hasura at {self.url} answered {answer.status}",
            self.setting,
            self.sleep,
        )
        if answer.status == 200 and answer.is_json:
            return answer
        raise self._refusal(answer, str(body["type"]))

    def _refusal(self, answer: Answer, request: str) -> CommitConflictError | ConfigurationError:
        said = answer.body if isinstance(answer.body, dict) else {}
        text = self._text(said.get("error"))
        if answer.status == 409 or said.get("code") == "conflict":
            return ConflictError(
                f"Hasura at {self.url}: somebody has changed the metadata meanwhile. Nothing was changed; try again."
            )
        if answer.status in (401, 403) or said.get("code") == "access-denied":
            return ConfigurationError(
                f"Hasura at {self.url} does not accept the admin secret ({answer.status}{text}). Set it, with "
                f"{self.setting}."
            )
        if not said:
            return ConfigurationError(
                f"Hasura at {self.url} answered {answer.status} to {request}, and nothing that Hasura says: "
                f"look at its address ({self.setting})."
            )
        reasons = "".join(f"\n  {reason}" for reason in self._inconsistent(said))
        return ConfigurationError(
            f"Hasura at {self.url} refuses {request} ({answer.status}{text}). Nothing was changed.{reasons}"
        )

    def _inconsistent(self, said: Mapping[str, Any]) -> list[str]:
        """Return what of the metadata does not fit, by name: a view that is not there, a column."""
        found = said.get("internal")
        entries = found if isinstance(found, list) else [found]
        return [
            f"{self._said(each.get('name') or each.get('type'))}: {self._said(each.get('reason'))}"
            for each in entries
            if isinstance(each, dict) and each.get("reason")
        ]

    def _text(self, text: Any) -> str:
        return f": {self._said(text)}" if text else ""

    def _said(self, text: Any) -> str:
        plain = " ".join(str(text).split())[:_MOST_SAID]
        return plain.replace(self.secret, "***") if self.secret else plain
