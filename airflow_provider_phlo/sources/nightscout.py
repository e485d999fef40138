"""
Continuous glucose readings of a Nightscout site, as a dlt source.

The API (v1) has no cursor: it answers the newest ``count`` entries of a window, or fewer, newest first.
https://github.com/nightscout/cgm-remote-monitor

``date`` is an entry's instant, in milliseconds. Some uploaders write fractions of them
(https://github.com/LoopKit/Loop/issues/2308, https://github.com/nightscout/Trio/issues/1478): they are cut.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import dlt
from dlt.extract.resource import DltResource
from dlt.extract.source import DltSource

from airflow_provider_phlo.exact_json import RepeatedNames
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sources.address import ConnectionLike, hint
from airflow_provider_phlo.sources.address import base_url as connection_url
from airflow_provider_phlo.sources.http import JsonClient, Limits, RetryPolicy, records

ENTRIES = "/api/v1/entries.json"
# name-0123456789abcdef, as Nightscout's admin page shows it
ACCESS_TOKEN = re.compile(r"[a-z0-9_]{0,10}-[0-9a-f]{16}")
SHA1_HEX = re.compile(r"[0-9a-fA-F]{40}")
CREDENTIAL = "password (the site's API secret or an access token that may read)"
ADVICE = {401: CREDENTIAL, 403: CREDENTIAL, 404: "host (the site's address)"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A number in text, as some uploaders write dates; longer ones are beyond every calendar.
NUMBER = re.compile(r"[0-9]{1,16}(?:\.[0-9]{0,100})?", re.ASCII)
# JavaScript's last date
LATEST = 8_640_000_000_000_000

Page = list[dict[str, Any]]


def nightscout(
    base_url: str,
    secret: str | None = None,
    *,
    start: datetime | date | str,
    end: datetime | date | str,
    conn_id: str = "nightscout_default",
    page_size: int = 1000,
    auth: str | None = None,
    retry: RetryPolicy | None = None,
    limits: Limits | None = None,
) -> DltSource:
    """
    Return the resource ``entries``: the ``sgv`` entries with ``start <= date < end``, each once.

    An entry that is edited while its window is read comes again, after its older form. One without a usable date is
    kept, for validation to judge.

    :param base_url: the site.
    :param secret: the API secret, its SHA-1 in hex, or an access token; None for a site that anyone may read.
    :param start: a moment (UTC when it names no zone) or a day.
    :param end: likewise, exclusive.
    :param conn_id: the connection to name in messages.
    :param page_size: entries asked for at once; the site may answer fewer.
    :param auth: ``secret`` or ``token`` says what ``secret`` is; by default its form does.
    :param retry: attempts, pauses and timeouts.
    :param limits: sizes and numbers beyond which a server is broken.
    :raises ConfigurationError: an argument is wrong.
    """
    window = _milliseconds(start), _milliseconds(end)
    if window[0] >= window[1]:
        raise ConfigurationError(f"nightscout: start ({start}) has to be before end ({end}).")
    if page_size < 1:
        raise ConfigurationError(f"nightscout: page_size has to be at least 1, not {page_size}.")
    headers, params = credentials(secret, auth, conn_id)
    root = base_url.rstrip("/").removesuffix("/api/v1")
    client = JsonClient(
        root,
        conn_id,
        headers=headers,
        advice=ADVICE,
        retry=retry or RetryPolicy(),
        limits=limits or Limits(),
        repeated_names=True,
    )

    def entries() -> Iterator[Page]:
        yield from _pages(client, params, window, page_size)

    # dlt would fill arguments of a decorated function from its own configuration, so it is given one without.
    def resources() -> list[DltResource]:
        return [dlt.resource(entries, name="entries")]

    return dlt.source(resources, name="nightscout", max_table_nesting=0)()


def connection_arguments(connection: ConnectionLike) -> dict[str, Any]:
    """
    Return ``base_url, secret, conn_id, auth`` of :func:`nightscout` for an Airflow connection.

    The extra ``auth`` (``secret`` or ``token``) says what the password is, where its form misleads.

    :raises ConfigurationError: the connection has no host, or it is not a URL.
    """
    return {
        "base_url": connection_url(connection),
        "secret": connection.password or None,
        "conn_id": str(connection.conn_id),
        "auth": (connection.extra_dejson or {}).get("auth"),
    }


def day_window(partition_date: str) -> tuple[datetime, datetime]:
    """Return start and end of a UTC day given as ``YYYY-MM-DD``."""
    try:
        day = datetime.combine(date.fromisoformat(partition_date), time(), UTC)
        return day, day + timedelta(days=1)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"'{partition_date}' is not a date: write it as YYYY-MM-DD.") from None


def credentials(secret: str | None, auth: str | None, conn_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """
    Return the headers and the query parameters that open the site.

    :raises ConfigurationError: ``auth`` is neither ``secret`` nor ``token``, or the secret is not text.
    """
    if auth not in (None, "", "secret", "token"):
        raise ConfigurationError(f"{conn_id}: auth is neither 'secret' nor 'token'. {hint(conn_id, 'the extra auth')}")
    secret = _text((secret or "").strip(), conn_id)
    if not secret:
        return {}, {}
    if auth == "token" or (not auth and ACCESS_TOKEN.fullmatch(secret)):
        return {}, {"token": secret}
    if SHA1_HEX.fullmatch(secret):
        return {"api-secret": secret.lower()}, {}
    return {"api-secret": hashlib.sha1(secret.encode()).hexdigest()}, {}  # noqa: S324  # Nightscout's protocol


def _text(secret: str, conn_id: str) -> str:
    try:
        secret.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{conn_id}: the password has characters that UTF-8 lacks (bytes of another encoding in .env?). "
            f"{hint(conn_id, CREDENTIAL)}"
        ) from None
    return secret


def _pages(client: JsonClient, params: dict[str, str], window: tuple[int, int], count: int) -> Iterator[Page]:
    """Yield the window's pages, the newest first, until nothing is left; entries of an earlier page are left out."""
    start, before = window
    cap, former, seen = _Cap(), 0, _Seen()
    for _ in range(client.limits.pages):
        if before <= start:
            return
        page = _get(client, params, start, before, count)
        kept = seen.new([_cut(entry) for entry in page if _wanted(entry, window)])
        if kept:
            cap.learn(former)
            yield kept
        former = len(page) if len(page) < count else 0
        dates = [moment for moment in map(_date, page) if moment is not None and moment < before]
        if not dates:
            _require_nothing_hidden(client, page, count)
            return
        oldest = min(dates)
        if oldest + 1 < before:
            # Not `before = oldest`: entries of that millisecond may lie beyond the page's border.
            before = oldest + 1
        elif len(page) >= count:
            # A whole page of one millisecond, and no cursor: only a larger page shows the rest of it.
            count *= 2
        else:
            cap.require_below(client, len(page))
            before = oldest
    raise client.rejected(client.root + ENTRIES, f"leads to more than {client.limits.pages} pages: ask for fewer days")


class _Cap:
    """The length of pages that the site made shorter than they were asked for, as later pages have shown."""

    def __init__(self) -> None:
        self._length = 0

    def learn(self, length: int) -> None:
        """Take note that there was more after a page of that length; 0 for one as long as it was asked for."""
        self._length = max(self._length, length)

    def require_below(self, client: JsonClient, length: int) -> None:
        """
        Check that a page of one millisecond is not as long as the site's pages get: no request shows the rest of it.

        :raises SourceRejectedError: if it is.
        """
        if 1 < self._length <= length:
            raise client.rejected(
                client.root + ENTRIES,
                f"answered {length} entries of one millisecond, and no page of this site is longer: more may be hidden",
            )


def _require_nothing_hidden(client: JsonClient, page: Page, count: int) -> None:
    """
    Check that a page without an entry before the moment asked for means that there are none.

    :raises SourceRejectedError: if the site ignores that moment, and so may hide what is before it.
    """
    full = len(page) >= count
    if full or any(_date(entry) is not None for entry in page):
        what = "a full page of entries" if full else f"{len(page)} entries"
        raise client.rejected(client.root + ENTRIES, f"answered {what}, none of the time asked for")


class _Seen:
    """The contents of all entries of the pages before: pages overlap by the millisecond at their border."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def new(self, entries: Page) -> Page:
        """Return those of a page's entries that no page before had; two of one page may be equal."""
        digests = [_digest(entry) for entry in entries]
        kept = [entry for entry, digest in zip(entries, digests, strict=True) if digest not in self._digests]
        self._digests.update(digest for digest in digests if digest)
        return kept


def _digest(entry: dict[str, Any]) -> bytes:
    try:
        return hashlib.blake2b(json.dumps(entry, sort_keys=True).encode(), digest_size=16).digest()
    except (RecursionError, TypeError):  # nested too deeply, a name twice: for validation to judge
        return b""


def _get(client: JsonClient, params: dict[str, str], start: int, before: int, count: int) -> Page:
    # Not find[type]=sgv: some uploaders write no type (https://github.com/discord-diabetes/diabot/pull/78).
    find = {
        "find[date][$gte]": str(start),
        "find[date][$lt]": str(before),
        "count": str(count),
    }
    return records(client, client.root + ENTRIES, client.get(ENTRIES, params={**find, **params}).body)


def _wanted(entry: dict[str, Any], window: tuple[int, int]) -> bool:
    """Sites may ignore a filter, so each entry is looked at again."""
    if entry.get("type") != "sgv" and not (entry.get("type") is None and "sgv" in entry):
        return False
    moment = _date(entry)
    return moment is None or window[0] <= moment < window[1]


def _cut(entry: dict[str, Any]) -> dict[str, Any]:
    """Return ``entry`` with a whole ``date``."""
    value, moment = entry.get("date"), _date(entry)
    fractional = (isinstance(value, float) and value != moment) or (isinstance(value, str) and "." in value)
    if moment is None or not fractional or isinstance(entry, RepeatedNames):
        return entry
    return {**entry, "date": moment}


def _date(entry: dict[str, Any]) -> int | None:
    """Return the entry's epoch milliseconds, None when it has no usable date."""
    value = entry.get("date")
    if isinstance(value, str):
        value = int(value.partition(".")[0]) if NUMBER.fullmatch(value) else None
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) <= LATEST else None  # NaN and infinities are not


def _milliseconds(moment: datetime | date | str) -> int:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ConfigurationError(f"nightscout: '{moment}' is neither a day nor a moment (ISO 8601).") from None
    elif not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(milliseconds=1)
