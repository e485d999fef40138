"""What is staged of one organization by one run: its files, its manifest, and where they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version

# the version of the manifest's content
MANIFEST_VERSION = 1
# a whole name of a batch
BATCH_NAME = re.compile(r"org=[^/]+/date=\d{4}-\d{2}-\d{2}/[A-Za-z0-9_-]{1,100}")
# characters of a quoted name; a longer one ends in a hash of the whole
LONGEST_NAME = 150
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class StageFile:
    """
    One Parquet file.

    :param path: relative to the stage's root, with ``/``.
    :param crc: the CRC-32 of the whole file.
    """

    path: str
    rows: int
    bytes: int
    crc: int

    @property
    def name(self) -> str:
        """Return what its rows have in the column ``_phlo_file``."""
        return self.path.rpartition("/")[2].removesuffix(".parquet")


@dataclass(frozen=True)
class StageBatch:
    """
    What one run staged of one organization.

    :param organization: whose rows they are.
    :param date: the day of the run, ``YYYY-MM-DD``.
    :param token: the run's token; a retry has the same.
    :param written_at: when the attempt that wrote it began, RFC 3339 in UTC: of two batches, the later one is newer.
    :param files: for each entity its files, in the order of writing.
    """

    organization: str
    date: str
    token: str
    written_at: str
    files: Mapping[str, tuple[StageFile, ...]]

    @property
    def name(self) -> str:
        """Return what names the batch in XCom: ``org=octo-org/date=2026-11-28/<token>``."""
        return batch_name(self.organization, self.date, self.token)

    def rows(self, entity: str) -> int:
        """Return how many rows the batch has of an entity."""
        return sum(file.rows for file in self.files.get(entity, ()))

    def to_json(self) -> dict[str, Any]:
        """Return the content of the manifest."""
        return {VERSION_FIELD: MANIFEST_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StageBatch:
        """
        Return the batch that :meth:`to_json` wrote.

        :raises ConfigurationError: if it was written by a newer version of the provider, or is not a manifest.
        """
        require_known_version(content, MANIFEST_VERSION, "The manifest of a batch in the stage")
        files = {entity: tuple(StageFile(**file) for file in found) for entity, found in content["files"].items()}
        return cls(content["organization"], content["date"], content["token"], content["written_at"], files)


def batch_name(organization: str, date: str, token: str) -> str:
    """
    Return the name of a batch, which is a path that stays in its folder, whatever the organization is called.

    :raises ConfigurationError: the organization has no name, or date or token are of another form.
    """
    if not _DATE.fullmatch(date) or not _TOKEN.fullmatch(token):
        raise ConfigurationError(f"No batch is staged for date {date!r} and token {token!r}: write YYYY-MM-DD.")
    return f"{batch_folder(organization, date)}/{token}"


def batch_folder(organization: str, date: str) -> str:
    return f"{organization_folder(organization)}/date={date}"


def organization_folder(organization: str) -> str:
    if not organization:
        raise ConfigurationError("The stage keeps rows by organization: an empty name is not one.")
    quoted = quote(organization, safe="", errors="surrogatepass")
    if len(quoted) > LONGEST_NAME:
        digest = hashlib.blake2b(quoted.encode(), digest_size=8).hexdigest()
        quoted = f"{quoted[:LONGEST_NAME]}-{digest}"
    return f"org={quoted}"
