"""
How long an organisation's pull requests take to be listed and read, beside what the server's latency allows.

The server is a process of its own that answers each request after its latency. What it allows is the number of requests
times the latency, divided by how many are under way at a time: ``parallel_tasks`` processes with ``concurrency``
threads each, as mapped tasks read; the plan uses as many threads in one process. Peak memory is that of one process
that reads all chunks, and of one that plans.

    python -m benchmarks.pulls [--repositories N] [--pulls N] [--latency SECONDS] [--memory N N] [--listed N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from airflow_provider_phlo.sources.github_pulls.client import open_client
from airflow_provider_phlo.sources.github_pulls.configuration import PullRequestsConfiguration
from airflow_provider_phlo.sources.github_pulls.planning import Plan, plan
from airflow_provider_phlo.sources.github_pulls.reading import read_chunk
from benchmarks.measuring import in_own_process, peak
from tests.unit.sources.github_pulls.organization import Organization

SPAWN = multiprocessing.get_context("spawn")
# nothing but latency is to be seen
ANY_PACE = 10_000_000
CONCURRENCY, PARALLEL_TASKS = 4, 4


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repositories", type=int, default=200)
    parser.add_argument("--pulls", type=int, default=5_000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--listed", type=int, default=100_000)
    arguments = parser.parse_args()
    with (
        serving(arguments.repositories, arguments.pulls, arguments.latency) as server,
        tempfile.TemporaryDirectory() as at,
    ):
        found: dict[str, Any] = {"wall": measure_wall(server, Path(at), arguments.latency)}
    with serving(arguments.repositories, arguments.listed, 0.0) as server, tempfile.TemporaryDirectory() as at:
        alone = round(in_own_process(_peak_of_plan, server.url, Path(at)) / 1e6)
        found[f"peak MB, {arguments.listed} pull requests"] = {"plan": alone}
    for pulls in arguments.memory:
        with serving(arguments.repositories, pulls, 0.0) as server, tempfile.TemporaryDirectory() as at:
            megabytes = {
                name: round(in_own_process(target, server.url, Path(at)) / 1e6)
                for name, target in (("plan", _peak_of_plan), ("read", _peak_of_reading))
            }
            found[f"peak MB, {pulls} pull requests"] = megabytes
    print(json.dumps(found, indent=2))


def measure_wall(server: Any, root: Path, latency: float) -> dict[str, Any]:
    """Return how long plan and tasks take, and what the server's latency allows."""
    with ProcessPoolExecutor(PARALLEL_TASKS, SPAWN) as tasks:
        list(tasks.map(time.sleep, [0.5] * PARALLEL_TASKS))  # Airflow forks tasks from warm processes
        started, cpu = time.perf_counter(), _cpu()
        made = planned(server.url, root)
        listed, cpu_of_plan = time.perf_counter(), _cpu() - cpu
        of_plan = server.requests.value
        work = [(server.url, root, chunk) for chunk in made.chunks]
        done = list(tasks.map(_read, *zip(*work, strict=True)))
        ended = time.perf_counter()
    requests = server.requests.value
    allowed = requests * latency / (CONCURRENCY * PARALLEL_TASKS)
    return {
        "repositories": made.repositories,
        "pull requests": sum(readings for readings, _ in done),
        "tasks that read": len(made.chunks),
        "requests": requests,
        "plan s": round(listed - started, 2),
        "read s": round(ended - listed, 2),
        "allowed s": round(allowed, 2),
        "ratio": round((ended - started) / allowed, 2) if allowed else None,
        "CPU ms per request, plan": round(1000 * cpu_of_plan / of_plan, 2),
        "CPU ms per request, read": round(1000 * sum(cpu for _, cpu in done) / (requests - of_plan), 2),
    }


def planned(url: str, root: Path) -> Plan:
    """Plan a run."""
    config = PullRequestsConfiguration(
        ("octo-org",), concurrency=CONCURRENCY, parallel_tasks=PARALLEL_TASKS, requests_per_minute=ANY_PACE
    )
    return plan(config, open_client(_connection(url), ANY_PACE), root, "github_pulls/2026-03-01/one")


def _read(url: str, root: Path, chunk: dict[str, Any]) -> tuple[int, float]:
    cpu = _cpu()
    return sum(1 for _ in read_chunk(chunk, _connection(url), root)), _cpu() - cpu


def _peak_of_plan(url: str, root: Path, sender: Any) -> None:
    planned(url, root)
    sender.send(peak())


def _peak_of_reading(url: str, root: Path, sender: Any) -> None:
    for chunk in planned(url, root).chunks:
        _read(url, root, chunk)
    sender.send(peak())


def _connection(url: str) -> SimpleNamespace:
    return SimpleNamespace(conn_id="b", host=url, schema=None, login=None, password="t", port=None, extra_dejson={})


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def serving(repositories: int, pulls: int, latency: float) -> Iterator[Any]:
    """Serve an organisation whose repositories have the same number of pull requests, a few files and reviews each."""
    port, requests = SPAWN.Value("i", 0), SPAWN.Value("i", 0)
    process = SPAWN.Process(target=_serve, args=(repositories, pulls, latency, port, requests), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.05)
    yield SimpleNamespace(url=f"http://127.0.0.1:{port.value}", requests=requests)
    process.kill()
    process.join()


def _serve(repositories: int, pulls: int, latency: float, port: Any, requests: Any) -> None:
    organization = Organization()
    for number in range(repositories):
        count = pulls // repositories + (number < pulls % repositories)
        organization.repository(f"repository-{number}", count, reviews=2, files=5)
    made: dict[str, bytes] = {}

    def answer(target: str) -> bytes:
        if target not in made:
            parts = urlsplit(target)
            status, body, headers = organization.answer(parts.path, parse_qs(parts.query), {})
            content = json.dumps(body).encode()
            headers |= {"Content-Length": str(len(content)), "Content-Type": "application/json; charset=utf-8"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            made[target] = f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode() + content
        return made[target]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the client has what it wanted
            while request := await reader.readuntil(b"\r\n\r\n"):
                requests.value += 1
                if latency:
                    await asyncio.sleep(latency)
                writer.write(answer(request.split(b" ", 2)[1].decode()))

    async def listen() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(listen())


if __name__ == "__main__":
    main()
