"""No page of another site makes a browser start something in the name of its user."""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, status


def same_origin_check(trusted: Callable[[], Collection[str]]) -> Callable[[Request], None]:
    """
    Return a dependency that refuses what a page of another origin sends with credentials that a browser adds itself.

    Those are cookies, which SameSite lets pass from other ports and subdomains too, and passwords (Basic). A bearer
    token was added by a program, which had to be given it. Browsers say in ``Sec-Fetch-Site`` or ``Origin`` where a
    request comes from; a program that sends neither is not a browser.

    :param trusted: returns other origins that may.
    """

    def check(request: Request) -> None:
        headers = request.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if headers.get("authorization", "").lower().startswith("bearer ") or (origin and origin in trusted()):
            return
        if site is not None:
            is_same = site in ("same-origin", "none")
        else:
            is_same = origin is None or _is_at(origin, headers.get("host"))
        if not is_same:
            raise HTTPException(
                status.HTTP_403_FORBIDDEN, "A page of another site may not do this: send a bearer token."
            )

    return check


def _is_at(origin: str, host: str | None) -> bool:
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:  # no URL
        return False
    return bool(netloc) and netloc == host
