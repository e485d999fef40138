"""
Branches of a whole Nessie catalog, over Nessie's REST API v2.

Nessie keeps one history for all tables, as git does for all files: a branch shows every table, and merging it puts what
it changed in all of them on main in one commit. Nessie takes no branches of single tables: they would replace main.

"main" is the branch that the catalog was opened at; a connection may name another (``…/iceberg/<branch>``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from requests import RequestException

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TransientError
from airflow_provider_phlo.iceberg.catalogs.opening import is_nessie as is_nessie
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from requests import Response

# properties that the server gives to a catalog and to a table
MAIN, ICEBERG_URI, API_URI = "nessie.default-branch.name", "nessie.iceberg-base-uri", "nessie.core-base-uri"
COMMIT = "nessie.commit.id"
RUN_PREFIX = "phlo_"
TIMEOUT = 60
CONFLICT = 409
NOT_FOUND = 404


def at(catalog: Catalog, branch: str) -> Catalog:
    """Return the catalog as ``branch`` has it; writing there writes to the branch."""
    properties = {name: value for name, value in catalog.properties.items() if name != "prefix"}
    return open_catalog(str(catalog.name), {**properties, "uri": f"{properties[ICEBERG_URI]}{quote(branch, safe='')}"})


def commit_of(table: Table) -> str:
    """Return the commit of the whole catalog at which ``table`` was loaded."""
    return table.properties[COMMIT]


def head_commit(catalog: Catalog, branch: str) -> str | None:
    """Return the commit that ``branch`` points to, or None where it does not exist."""
    response = _call(catalog, "GET", f"trees/{quote(branch, safe='')}", accepted=(NOT_FOUND,))
    return None if response.status_code == NOT_FOUND else str(response.json()["reference"]["hash"])


def create(catalog: Catalog, branch: str) -> str:
    """
    Point ``branch`` at main's head, dropping what an earlier attempt left there.

    :returns: the commit it points to.
    """
    main = _call(catalog, "GET", f"trees/{quote(_main(catalog), safe='')}").json()["reference"]
    made = _call(catalog, "POST", "trees", params={"name": branch, "type": "BRANCH"}, json=main, accepted=(CONFLICT,))
    if made.status_code == CONFLICT:
        old = head_commit(catalog, branch)
        _call(catalog, "PUT", f"trees/{_at_commit(branch, old)}", params={"type": "BRANCH"}, json=main)
    return str(main["hash"])


def drop(catalog: Catalog, branch: str) -> None:
    """Remove ``branch``; one that does not exist is fine."""
    commit = head_commit(catalog, branch)
    if commit is not None:
        path = f"trees/{_at_commit(branch, commit)}"
        _call(catalog, "DELETE", path, params={"type": "BRANCH"}, accepted=(NOT_FOUND,))


def merge(catalog: Catalog, branch: str, commit: str, *, message: str, into: str | None = None) -> None:
    """
    Put what ``branch`` changed, up to ``commit``, on main: all of it in one commit, or nothing.

    :param message: of that commit.
    :param into: a branch other than main.
    :raises CommitConflictError: one of the tables has changed there since the branch was made, or the branch is gone.
    :raises TransientError: Nessie did not answer; whether it merged is not known.
    """
    target = into or _main(catalog)
    commit_there = head_commit(catalog, target)
    # the default mode: a key that changed on both sides is a conflict, never forced
    body = {"fromRefName": branch, "fromHash": commit, "message": message, "defaultKeyMergeMode": "NORMAL"}
    path = f"trees/{_at_commit(target, commit_there)}/history/merge"
    response = _call(catalog, "POST", path, json=body, accepted=(CONFLICT, NOT_FOUND))
    if not response.ok:  # not found if another attempt of the run has made the branch again
        raise CommitConflictError(f"Branch {branch} cannot be merged into {target}: {_message(response)}")


def run_branches(catalog: Catalog) -> dict[str, str]:
    """
    Return the branches of runs that are not published (failed, or at work), each with its commit.

    :raises ConfigurationError: the pages of the list lead back to one that was read.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    parameters = {"filter": f"ref.name.startsWith('{RUN_PREFIX}')"}
    while True:
        page = _call(catalog, "GET", "trees", params=parameters).json()
        found |= {reference["name"]: reference["hash"] for reference in page["references"]}
        if not page["hasMore"]:
            return found
        if page["token"] in seen:
            raise ConfigurationError("Nessie's list of branches has no end: a page is named as the next twice.")
        seen.add(page["token"])
        parameters["page-token"] = page["token"]


def _main(catalog: Catalog) -> str:
    return str(catalog.properties[MAIN])


def _at_commit(branch: str, commit: str | None) -> str:
    if commit is None:
        raise TransientError(f"Nessie branch {branch} has just been removed by another process; retry.")
    return f"{quote(branch, safe='')}@{commit}"


def _call(catalog: Any, method: str, path: str, *, accepted: tuple[int, ...] = (), **arguments: Any) -> Response:
    """Call Nessie's API as the user of the catalog; answers other than 2xx and ``accepted`` are errors."""
    url = f"{catalog.properties[API_URI].rstrip('/')}/v2/{path}"
    try:
        response: Response = catalog._session.request(method, url, timeout=TIMEOUT, **arguments)
    except RequestException as error:
        raise TransientError(f"Nessie does not answer ({method} {path}: {type(error).__name__}); retry.") from error
    if response.ok or response.status_code in accepted:
        return response
    problem = f"Nessie refuses {method} {path}: {response.status_code} {_message(response)}"
    if response.status_code in (CONFLICT, 429) or response.status_code >= 500:
        raise TransientError(problem)
    raise ConfigurationError(problem)


def _message(response: Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason
