"""
Open dashboards of Superset in Chromium, and say what was seen. Runs in an environment of its own, which has playwright.

Reads what to do as JSON from its standard input, and writes what it saw as JSON to its standard output.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from playwright.sync_api import Page, Response, sync_playwright  # type: ignore[import-not-found]

MILLISECONDS = 120_000
# high enough for all charts: those that are not seen are not drawn
WINDOW = {"width": 1280, "height": 2000}
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--force-prefers-reduced-motion"]


def main() -> None:
    todo = json.load(sys.stdin)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=todo["chromium"], args=ARGUMENTS)
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(MILLISECONDS)
        # nothing but Superset itself: where this runs, nothing else answers
        page.route(lambda url: not url.startswith(todo["url"]), lambda route: route.abort())
        _log_in(page, todo)
        seen = {each: _look(page, todo["url"], each, Path(todo["folder"])) for each in todo["dashboards"]}
        browser.close()
    json.dump(seen, sys.stdout)


def _log_in(page: Page, todo: dict[str, Any]) -> None:
    page.goto(f"{todo['url']}/login/")
    page.fill("#username", "admin")
    page.fill("#password", todo["password"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/superset/welcome/**")


def _look(page: Page, url: str, dashboard: str, folder: Path) -> dict[str, Any]:
    answers: list[Response] = []

    def note(response: Response) -> None:
        if "/api/v1/chart/data" in response.url:
            answers.append(response)

    page.on("response", note)
    page.goto(f"{url}/superset/dashboard/{dashboard}/?standalone=1")
    page.wait_for_selector(".dashboard-component-chart-holder")
    charts = page.locator(".dashboard-component-chart-holder").count()
    # each has asked for its rows, and has drawn them
    page.wait_for_function(
        "count => document.querySelectorAll('.slice_container').length === count"
        " && document.querySelectorAll('.loading').length === 0",
        arg=charts,
    )
    picture = _still(page)
    (folder / f"{dashboard}.png").write_bytes(picture)
    page.remove_listener("response", note)
    return {
        "charts": charts,
        "text": page.inner_text("body"),
        "drawn": page.locator(".slice_container canvas").count(),
        "answers": [_answer(each) for each in answers],
    }


def _drawn_part(page: Page) -> Any:
    """Return the part of the window that has charts."""
    boxes = [each.bounding_box() for each in page.locator(".dashboard-component-chart-holder").all()]
    lowest = max(box["y"] + box["height"] for box in boxes if box)
    return {"x": 0, "y": 0, "width": WINDOW["width"], "height": lowest + 16}


def _still(page: Page) -> bytes:
    """Return a picture of the dashboard when nothing in it moves any more."""
    before = b""
    while (picture := page.screenshot(clip=_drawn_part(page))) != before:
        before = picture
        page.wait_for_timeout(500)
    return before


def _answer(response: Response) -> dict[str, Any]:
    chart = re.search(r'"slice_id":(\d+)', unquote(response.url))
    return {
        "chart": int(chart[1]) if chart else None,
        "status": response.status,
        "rows": [each["data"] for each in response.json()["result"]] if response.ok else response.text(),
    }


if __name__ == "__main__":
    main()
