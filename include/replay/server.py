"""Serve recordings as GitHub and Nightscout do, on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from include.replay import glucose, pulls
from include.replay.firehose import public_events
from include.replay.recordings import Recordings

Query = dict[str, str]
Response = tuple[int, Any, dict[str, str]]

# Fewer than a client asks for: real sites have a limit too, and pages that meet are worth seeing.
NIGHTSCOUT_LIMIT = 100
NIGHTSCOUT_DEFAULT = 10
GITHUB_LIMIT = 100
GITHUB_DEFAULT = 30
HOURLY_REQUESTS = 5000
# GitHub says 60; nobody has to wait so long for recordings
POLL_SECONDS = "5"
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "$gte": lambda value, bound: value >= bound,
    "$gt": lambda value, bound: value > bound,
    "$lte": lambda value, bound: value <= bound,
    "$lt": lambda value, bound: value < bound,
}
NOT_FOUND = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}
UNAUTHORIZED = {"status": 401, "message": "Unauthorized", "description": "Invalid/Missing"}


def _now() -> datetime:
    """Return up to when things have happened: ``REPLAY_NOW``, for those who read twice, else now."""
    fixed = os.environ.get("REPLAY_NOW")
    return datetime.fromisoformat(fixed) if fixed else datetime.now(UTC)


class ReplayServer(ThreadingHTTPServer):
    """
    One server for both sites.

    :param secret: Nightscout's API secret; without one nobody reads its entries, or advances the recordings.
    """

    daemon_threads = True

    def __init__(self, recordings: Recordings, secret: str | None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.recordings = recordings
        self.lock = threading.Lock()
        self._digest = hashlib.sha1(secret.encode()).hexdigest() if secret else None
        self._hour, self._used = 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def opens(self, header: str) -> bool:
        """Return whether ``header`` is the SHA-1 of the API secret."""
        return self._digest is not None and hmac.compare_digest(header.lower().encode(), self._digest.encode())

    def rate_limit(self) -> tuple[bool, dict[str, str]]:
        """Count one request to GitHub: is there one left in this hour, and what do the headers say."""
        hour = int(time.time()) // 3600
        if hour != self._hour:
            self._hour, self._used = hour, 0
        within = self._used < HOURLY_REQUESTS
        self._used += within
        return within, {
            "X-RateLimit-Limit": str(HOURLY_REQUESTS),
            "X-RateLimit-Remaining": str(HOURLY_REQUESTS - self._used),
            "X-RateLimit-Reset": str((hour + 1) * 3600),
            "X-RateLimit-Used": str(self._used),
            "X-RateLimit-Resource": "core",
        }


class Handler(BaseHTTPRequestHandler):
    """Finds the site a path belongs to, and answers JSON."""

    server: ReplayServer
    protocol_version = "HTTP/1.1"
    # else every answer waits 40 ms for an ACK
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self.server.lock:
            response = self._route(steps, query)
        self._answer(*response)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        change = urlsplit(self.path).path
        if change not in ("/replay/advance", "/replay/misread"):
            self._answer(404, {"message": "Not Found"}, {})
            return
        if not self.server.opens(self.headers.get("api-secret", "")):
            self._answer(401, UNAUTHORIZED, {})
            return
        with self.server.lock:
            counts = self.server.recordings.advance() if change == "/replay/advance" else {}
            if change == "/replay/misread":
                self.server.recordings.misread_once()
        self._answer(200, counts, {})

    def log_message(self, *args: object) -> None:
        """Say nothing: a path may hold a token."""

    def _route(self, steps: list[str], query: Query) -> Response:
        if steps[0] == "github":
            return self._github(steps[1:], query)
        if steps in (["nightscout", "api", "v1", "entries.json"], ["nightscout", "api", "v1", "entries"]):
            return self._nightscout(query)
        if steps == ["replay", "health"]:
            recordings = self.server.recordings
            health = {"status": "ok", "login": recordings.login, "days": recordings.days, "end": str(recordings.end)}
            return 200, {**health, "advances": len(recordings.advances)}, {}
        return 404, {"message": "Not Found"}, {}

    def _github(self, steps: list[str], query: Query) -> Response:
        within, headers = self.server.rate_limit()
        if not within:
            return 403, {"message": "API rate limit exceeded"}, headers
        recordings = self.server.recordings
        if steps == ["events"]:
            body, links = self._page(public_events(_now(), recordings.seed), "events", query)
            return self._unless_known(body, {**headers, **links, "X-Poll-Interval": POLL_SECONDS})
        if len(steps) > 1 and steps[0] == "repositories":
            return self._repository(steps[1], steps[2:], query, headers)
        if len(steps) > 1 and steps[1].lower() == pulls.ORG:
            return self._organization(steps[0], steps[2:], query, headers)
        who = {"users": recordings.login.lower(), "user": str(recordings.profile["id"])}
        if len(steps) < 2 or steps[1].lower() != who.get(steps[0]):
            return 404, NOT_FOUND, headers
        collections = {"repos": recordings.repositories, "events": recordings.happened(_now())}
        if steps[2:] == []:
            body: Any = recordings.profile
        elif len(steps) == 3 and steps[2] in collections:
            # GitHub's own links name the user by number; they lead back to the name by which the server was asked
            path = f"user/{recordings.profile['id']}/{steps[2]}"
            body, links = self._page(collections[steps[2]], path, query)
            headers.update(links)
        else:
            return 404, {"message": "Not Found"}, headers
        return self._unless_known(body, headers)

    def _organization(self, kind: str, steps: list[str], query: Query, headers: dict[str, str]) -> Response:
        """Answer what is below ``orgs/ORG``, ``users/ORG`` and ``repos/ORG``."""
        if kind in ("orgs", "users") and not steps:
            return self._unless_known(pulls.organization(), headers)
        items = self._of_organization(kind, steps, query)
        if items is None:
            return 404, NOT_FOUND, headers
        body, links = self._page(items, "/".join((kind, pulls.ORG, *steps)), query)
        return self._unless_known(body, {**headers, **links})

    def _repository(self, number: str, steps: list[str], query: Query, headers: dict[str, str]) -> Response:
        """Answer what is below ``repositories/ID``: as by its name."""
        found = {str(each["id"]): each for each in pulls.repositories(self.server.recordings.end)}.get(number)
        if found is None:
            return 404, NOT_FOUND, headers
        if not steps:
            return self._unless_known(found, headers)
        return self._organization("repos", [str(found["name"]), *steps], query, headers)

    def _of_organization(self, kind: str, steps: list[str], query: Query) -> list[Any] | None:
        """Return all items of a list, None if there is no such list."""
        recordings, now = self.server.recordings, _now()
        if kind in ("orgs", "users"):
            return pulls.repositories(recordings.end) if steps == ["repos"] else None
        if kind != "repos" or steps[1:2] != ["pulls"] or steps[0] not in {name for name, *_ in pulls.REPOSITORIES}:
            return None
        if len(steps) == 2:
            listed = [pulls.pull_request(told, now) for told in pulls.stories(steps[0], recordings.seed, now)]
            wanted = query.get("state", "open")
            return [each for each in listed if wanted in ("all", each["state"])]
        told = pulls.find_story(steps[0], _positive(steps[2], 0), recordings.seed, now)
        if told is None or len(steps) != 4:
            return None
        lists = {"reviews": lambda: pulls.reviews(told, now), "files": lambda: pulls.files(told)}
        return lists[steps[3]]() if steps[3] in lists else None

    def _unless_known(self, body: Any, headers: dict[str, str]) -> Response:
        headers["ETag"] = f'W/"{hashlib.sha256(json.dumps(body).encode()).hexdigest()}"'
        if self.headers.get("If-None-Match") == headers["ETag"]:
            return 304, None, headers
        return 200, body, headers

    def _page(self, items: list[Any], path: str, query: Query) -> tuple[list[Any], dict[str, str]]:
        """Return one page and its links; the last item of a page is also the first of the next."""
        size = min(_positive(query.get("per_page"), GITHUB_DEFAULT), GITHUB_LIMIT)
        step = max(size - 1, 1)
        page, last = _positive(query.get("page"), 1), max(-(-(len(items) - (size - step)) // step), 1)
        targets = {"prev": page - 1, "first": 1} if page > 1 else {}
        if page < last:
            targets |= {"next": page + 1, "last": last}
        url = f"{self._asked_at()}/github/{path}"
        links = [
            f'<{url}?{urlencode({**query, "page": target})}>; rel="{relation}"' for relation, target in targets.items()
        ]
        first = (page - 1) * step
        return items[first : first + size] if page <= last else [], {"Link": ", ".join(links)} if links else {}

    def _asked_at(self) -> str:
        host = self.headers.get("Host", "")
        known = {f"{name}:{self.server.server_port}" for name in ("localhost", "127.0.0.1")}
        return f"http://{host}" if host in known else self.server.url

    def _nightscout(self, query: Query) -> Response:
        if not self.server.opens(self.headers.get("api-secret", "")):
            return 401, UNAUTHORIZED, {}
        bounds = {}
        for operator in COMPARISONS:
            given = query.get(f"find[date][{operator}]")
            if given is not None and not given.isdigit():
                return 400, {"status": 400, "message": "find[date] is not a number"}, {}
            if given is not None:
                bounds[operator] = int(given)
        if query.get("find[type]", glucose.TYPE) != glucose.TYPE:
            return 200, [], {}
        recordings = self.server.recordings
        found = (
            entry
            for entry in recordings.readings(*_days(bounds, recordings), _now())
            if all(COMPARISONS[operator](entry["date"], bound) for operator, bound in bounds.items())
        )
        count = min(_positive(query.get("count"), NIGHTSCOUT_DEFAULT), NIGHTSCOUT_LIMIT)
        return 200, list(islice(found, count)), {}

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        content = b"" if status == 304 else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _positive(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() and int(text) > 0 else default


def _days(bounds: Mapping[str, int], recordings: Recordings) -> tuple[date, date]:
    """Return the first and the last day that is asked for by ``bounds``, milliseconds; the window's without any."""
    low = max((value for operator, value in bounds.items() if operator.startswith("$g")), default=None)
    high = min((value for operator, value in bounds.items() if operator.startswith("$l")), default=None)
    if low is None and high is None:
        return recordings.start, recordings.end
    last = date.max if high is None else _day(high)
    return min(recordings.start, last) if low is None else _day(low), last


def _day(milliseconds: int) -> date:
    """Return a day; the last that there is for a time beyond it."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).date()
    except (ValueError, OverflowError, OSError):
        return date.max
