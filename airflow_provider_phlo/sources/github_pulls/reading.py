"""Read the reviews and files of a chunk's pull requests, several at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

from airflow_provider_phlo.exceptions import SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.address import ConnectionLike
from airflow_provider_phlo.sources.github_api import next_page, require_new_page
from airflow_provider_phlo.sources.github_pulls import working_files
from airflow_provider_phlo.sources.github_pulls.answers import file_of, is_id, reading_of, review_of, sent_at, text_of
from airflow_provider_phlo.sources.github_pulls.client import open_client, reason_to_leave_out
from airflow_provider_phlo.sources.github_pulls.progress import Key, Progress, key_of
from airflow_provider_phlo.sources.github_pulls.threads import in_threads
from airflow_provider_phlo.sources.http import JsonClient, RetryPolicy, records

log = logging.getLogger(__name__)
PER_PAGE = 100
# GitHub lists no more files of a pull request than these
MOST_FILES = 3000
_PROGRESS = "progress"
# Answers where a pull request's changes are too large for GitHub to list.
_TOO_LARGE = frozenset({406, 422})
# For some, GitHub fails (5xx) each time; where it does so for more than these, it is GitHub that is down.
_MOST_FAILING = 3
# A list that changes faster than it can be read is given up after these.
_MOST_READINGS = 3
Keep = Callable[[dict[str, Any]], dict[str, Any]]


def read_chunk(
    chunk: Mapping[str, Any],
    connection: ConnectionLike | None,
    root: Any,
    *,
    retry: RetryPolicy | None = None,
) -> Iterator[dict[str, Any]]:
    """
    Yield a record of :class:`~.models.PullRequestReading` for each pull request of a chunk, in no particular order.

    What earlier attempts of the same run have read is yielded first and not read again. A pull request that cannot be
    read for reasons of its own (its repository was deleted or blocked) is left out, and the log names it.

    :param chunk: one of ``planning.Plan.chunks``.
    :param connection: as for ``client.open_client``.
    :param root: the staging root, a path object.
    :raises SourceRejectedError: the token is refused, or may read none of the chunk.
    :raises SourceUnavailableError: GitHub does not answer, or a rate limit outlasts the patience.
    :raises ConfigurationError: the files of the plan are gone.
    """
    content = next(working_files.read(root / chunk["chunk"]))
    place = root / chunk["chunk"]
    progress = Progress(place.parent.parent / _PROGRESS / place.name.partition(".")[0])
    kept, left_out = 0, []
    for reading in progress.recall():
        if "left_out" in reading:
            left_out.append(reading)
        else:
            kept += 1
            yield reading_of(reading)
    if kept:
        log.info("%d of %d pull requests were read before", kept, chunk["pull_requests"])
    client = open_client(connection, content["requests_per_minute"], retry=retry)
    reader = _Reader(client, progress.recall_pages())
    todo = (pull for name in content["pieces"] for pull in working_files.read(root / name))
    missing = (pull for pull in todo if key_of(pull) not in progress.done)
    try:
        with closing(_in_two_rounds(reader, missing, content["concurrency"])) as readings:
            for reading in readings:
                progress.keep(reading)
                if "left_out" in reading:
                    left_out.append(reading)
                else:
                    kept += 1
                    yield reading_of(reading)
    finally:
        progress.flush()
        progress.keep_pages(reader.unfinished())
    for each in left_out:
        log.warning("%s#%d is left out: %s", each["full_name"], each["number"], each["left_out"])
    if left_out and not kept and any(each["status"] == 403 for each in left_out):
        progress.forget()  # a token with the permission is to be tried
        raise SourceRejectedError(
            f"{client.conn_id}: GitHub refuses the reviews and files of all {len(left_out)} pull requests (403): give "
            "the connection's password, a token, the permission to read pull requests.",
            403,
        )
    log.info("%d pull requests are read, %d are left out", kept, len(left_out))


def left_out(root: Any, folder: str) -> list[dict[str, Any]]:
    """
    Return the pull requests of a plan that could not be read.

    :param root: the staging root, a path object.
    :param folder: that of the plan.
    :returns: ``repository_id``, ``number``, ``full_name``, ``updated_at``, ``left_out`` (why) and ``status`` of each.
    """
    places = working_files.names(root / folder / _PROGRESS)
    return [kept for place in places for kept in Progress(place).recall() if "left_out" in kept]


def _in_two_rounds(
    reader: _Reader, pulls: Iterable[dict[str, Any]], threads: int
) -> Generator[dict[str, Any], None, None]:
    """Yield readings; pull requests whose files GitHub failed to list are tried once more when all others are read."""
    with closing(in_threads(reader.read, pulls, threads)) as readings:
        yield from (reading for reading in readings if reading is not None)
    again = reader.begin_last_round()
    with closing(in_threads(reader.read, again, threads)) as readings:
        yield from (reading for reading in readings if reading is not None)


class _Reader:
    """Reads pull requests in threads, page by page; what is unfinished when an error ends it can be gone on with."""

    def __init__(self, client: JsonClient, states: dict[Key, dict[str, Any]]) -> None:
        self.client = client
        self._states = states
        self._failing: list[dict[str, Any]] = []
        self._is_last_round = False

    def begin_last_round(self) -> list[dict[str, Any]]:
        """Return the pull requests that are to be read once more; what fails now is left out."""
        again, self._failing, self._is_last_round = self._failing, [], True
        return again

    def read(self, pull: dict[str, Any]) -> dict[str, Any] | None:
        """Return a pull request with its reviews and files, or with why it is left out; None: read it once more."""
        state = self._states.setdefault(key_of(pull), {"key": key_of(pull), "pages": 0})
        try:
            reviews = self._all(state, f"{pull['path']}/reviews", "reviews", review_of)
            files, complete = self._files(pull, state, f"{pull['path']}/files")
        except _LaterError:
            return None
        except _UnstableError:
            return self._left_out(pull, "its reviews or files changed each time they were read", 0)
        except SourceRejectedError as error:
            reason = reason_to_leave_out(error)
            if reason is None:
                raise
            return self._left_out(pull, reason, error.status)
        self._states.pop(key_of(pull), None)
        known = [review for review in reviews if is_id(review["id"])]
        if len(known) < len(reviews):
            without = len(reviews) - len(known)
            log.warning("%s#%d: %d reviews without an id are left out", pull["full_name"], pull["number"], without)
        return {
            **pull,
            "reviews": _each_once(known, "id"),
            "files": _numbered(files),
            "files_complete": complete,
            "read_at": state["read_at"],
        }

    def _left_out(self, pull: dict[str, Any], reason: str, status: int | None) -> dict[str, Any]:
        self._states.pop(key_of(pull), None)
        names = {name: pull[name] for name in ("repository_id", "number", "full_name", "updated_at")}
        return {**names, "left_out": reason, "status": status}

    def unfinished(self) -> list[dict[str, Any]]:
        """Return the pages of what was begun; only when no thread reads any more."""
        return [state for state in self._states.values() if state["pages"]]

    def _files(self, pull: dict[str, Any], state: dict[str, Any], path: str) -> tuple[list[dict[str, Any]], bool]:
        try:
            files = self._all(state, path, "files", file_of)
        except SourceRejectedError as error:
            if error.status not in _TOO_LARGE:
                raise
            log.warning("%s answered %d: its changes are too large to be listed", path, error.status)
        except SourceUnavailableError as error:
            # the reviews of the same pull request could be read
            if error.retry_at is not None or (error.status or 0) < 500 or len(self._failing) == _MOST_FAILING:
                raise
            self._failing.append(pull)
            if not self._is_last_round:
                raise _LaterError from error
            log.warning("%s: the files are left out. %s", path, error)
        else:
            return files, len(files) != MOST_FILES
        return _items(state["files"]) if "files" in state else [], False

    def _all(self, state: dict[str, Any], path: str, name: str, keep: Keep) -> list[dict[str, Any]]:
        """
        Return all items of a list; pages in ``state`` are not asked for again.

        Where there are several, they are compared with what they are afterwards: an item that is removed meanwhile
        moves others to pages that were read before.

        :raises _UnstableError: they change each time.
        """
        first = f"{self.client.root}{path}?per_page={PER_PAGE}"
        part = state.setdefault(name, {"pages": [], "next": first, "compared": 0, "reading": 1})
        while True:
            self._read_on(state, part, keep)
            if self._is_unchanged(state, part, keep):
                return _items(part)
            if part["reading"] == _MOST_READINGS:
                raise _UnstableError
            log.info("%s changed while it was read", path)
            part |= {"pages": [], "next": first, "compared": 0, "reading": part["reading"] + 1}

    def _read_on(self, state: dict[str, Any], part: dict[str, Any], keep: Keep) -> None:
        """Read the pages of a list that are missing."""
        previous: Any = None
        while (url := part["next"]) is not None:
            require_new_page(self.client, url, [page["url"] for page in part["pages"]])
            answer = self.client.get(url)
            items = [keep(item) for item in records(self.client, url, answer.body)]
            part["pages"].append({"url": url, "etag": answer.headers.get("ETag"), "items": items})
            part["next"], previous = next_page(url, answer, PER_PAGE, previous), answer.body
            state["pages"] += 1
            state["read_at"] = text_of(sent_at(answer.headers))

    def _is_unchanged(self, state: dict[str, Any], part: dict[str, Any], keep: Keep) -> bool:
        """Return whether all pages but the last are as they were read: with their ETags, that is free."""
        for page in part["pages"][part["compared"] : -1]:
            headers = {"If-None-Match": page["etag"]} if page["etag"] else None
            answer = self.client.get(page["url"], headers=headers)
            state["pages"] += 1
            if answer.status != 304:
                items = [keep(item) for item in records(self.client, page["url"], answer.body)]
                if items != page["items"]:
                    return False
            part["compared"] += 1
        return True


class _UnstableError(Exception):
    """A list changed each time it was read."""


class _LaterError(Exception):
    """GitHub failed to list the files of a pull request, and may do so when the others are read."""


def _items(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for page in part["pages"] for item in page["items"]]


def _numbered(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Return files with how often their path was listed up to there: a file that becomes a link is listed twice.

    An entry that is the same in everything is the same file: a server's pages may overlap.
    """
    seen: Counter[str] = Counter()
    numbered = []
    for file in {repr(file): file for file in files}.values():
        seen[repr(file["filename"])] += 1
        numbered.append({**file, "occurrence": seen[repr(file["filename"])]})
    return numbered


def _each_once(items: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return each item once, as it was read last: pages shift while they are read."""
    return list({repr(item[name]): item for item in items}.values())
