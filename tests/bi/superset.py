"""Superset itself, in an environment of its own, set up and run as docker-compose.yaml does it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.patience import PATIENCE
from tests.services import programs
from tests.services.downloads import missing
from tests.services.running import HOST, free_port, running

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy" / "superset"


@dataclass(frozen=True)
class RunningSuperset:
    """
    A Superset that answers.

    :param password: of its user ``admin``.
    """

    url: str
    password: str
    folder: Path

    def session(self) -> requests.Session:
        """Return a session that is logged in, as one of a person who edits a dashboard."""
        session = requests.Session()
        login = {"username": "admin", "password": self.password, "provider": "db", "refresh": False}
        answer = session.post(f"{self.url}/api/v1/security/login", json=login, timeout=PATIENCE)
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        token = session.get(f"{self.url}/api/v1/security/csrf_token/", timeout=PATIENCE).json()["result"]
        session.headers.update({"X-CSRFToken": token, "Referer": self.url})
        return session

    def numbers(self, kind: str, name: str) -> dict[str, int]:
        """Return the server's number of each ``chart`` or ``dashboard`` by its name."""
        answer = self.session().get(f"{self.url}/api/v1/{kind}/?q=(page_size:100)", timeout=PATIENCE)
        return {each[name]: each["id"] for each in answer.json()["result"]}

    def edit(self, kind: str, number: int, **values: Any) -> None:
        """Change a chart or dashboard as its page does."""
        answer = self.session().put(f"{self.url}/api/v1/{kind}/{number}", json=values, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text

    def look(self, dashboards: Sequence[str], folder: Path) -> dict[str, Any]:
        """
        Open dashboards in a browser.

        :param folder: gets a picture of each.
        :return: by dashboard: what its charts got, by the number of the chart, and the text that is seen.
        """
        chromium = shutil.which("chromium")
        if chromium is None:
            missing("Chromium is not installed", "install it (Debian: apt-get install chromium).")
        python = programs.playwright()
        request = {
            "url": self.url,
            "password": self.password,
            "dashboards": list(dashboards),
            "folder": str(folder),
            "chromium": chromium,
        }
        done = subprocess.run(
            [python, Path(__file__).with_name("browser.py")],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=300,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen


@contextmanager
def running_superset(folder: Path, database_url: str) -> Iterator[RunningSuperset]:
    """Run Superset for the time of the block, with its own tables in this database."""
    gunicorn = programs.superset()
    port, password = free_port(), secrets.token_hex(16)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SUPERSET_CONFIG_PATH": str(FILES / "superset_config.py"),
        "SUPERSET_SECRET_KEY": secrets.token_hex(32),
        "SUPERSET_DATABASE_URL": database_url,
        "SCARF_ANALYTICS": "false",
        "PHLO_SUPERSET_PASSWORD": password,
    }
    command = [gunicorn.with_name("python"), FILES / "set_up.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    url = f"http://{HOST}:{port}"
    options = [f"--bind={HOST}:{port}", "--workers=1", "--worker-class=gthread", "--threads=8"]
    options += ["--timeout=120", "--graceful-timeout=2"]
    with running(
        [str(gunicorn), *options, "superset.app:create_app()"],
        ready=lambda: _answers(url),
        log=folder / "superset.log",
        environment=environment,
    ):
        yield RunningSuperset(url, password, folder)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=10).status_code == 200
    except requests.RequestException:
        return False
