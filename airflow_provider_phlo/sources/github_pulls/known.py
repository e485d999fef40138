"""How far pull requests have been read, by what the tables have of them."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_phlo.sources.github_pulls.planning import KnownRepository
from airflow_provider_phlo.warehouse.tables import Warehouse

#: the columns of the table of repositories that say how many rows there were
COUNTS = ("pull_requests", "reviews", "files")


def known_repositories(
    warehouse: Warehouse, login: str, *, repositories: str, contents: Sequence[str]
) -> dict[int, KnownRepository]:
    """
    Return how far each repository of an account has been read.

    That is believed while the tables have as many rows of it as when it was written down: loads only add rows. One that
    has lost rows since (rolled back, dropped, deleted) is to be read as a whole again.

    :param repositories: the table of repositories.
    :param contents: the tables of pull requests, reviews and files.
    """
    where = {"organization": login}
    rows = rows_by_repository(warehouse, login, contents)
    columns = ("repository_id", "repository", "complete_until", "last_update", "updated_last", *COUNTS)
    found = {key: KnownRepository(None, there) for key, there in rows.items()}
    for row in warehouse.rows(repositories, columns, where=where):
        there = rows.get(row["repository_id"], (0, 0, 0))
        is_whole = all(now >= (row[name] or 0) for now, name in zip(there, COUNTS, strict=True))
        until = row["complete_until"] if is_whole else None
        found[row["repository_id"]] = KnownRepository(
            until, there, row["repository"], row["last_update"], row["updated_last"]
        )
    return found


def rows_by_repository(warehouse: Warehouse, login: str, contents: Sequence[str]) -> dict[int, tuple[int, int, int]]:
    """
    Return how many rows of each repository of an account some tables have.

    :param contents: the tables of pull requests, reviews and files.
    """
    pulls, reviews, files = (
        warehouse.count_rows(table, by="repository_id", where={"organization": login}) for table in contents
    )
    return {key: (pulls.get(key, 0), reviews.get(key, 0), files.get(key, 0)) for key in {*pulls, *reviews, *files}}
