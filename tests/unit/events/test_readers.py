"""Readers in processes of their own, while loads go on: no errors, and each answer is the state after some load."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_phlo.events.loading import load_and_publish
from tests.patience import PATIENCE
from tests.sizes import size

READERS, PROCESSES, LOADS, FILE_EVENTS = 50, 2, 20, 150

READ = """
import json, random, sys, threading
from pathlib import Path
from airflow_provider_phlo.events.queries import TOP_REPOS, USER_SESSIONS, PublishedEvents

published = PublishedEvents(Path(sys.argv[1]))
seen, failed, stop = set(), [], threading.Event()

def read():
    for _ in range(int(sys.argv[3])):
        if stop.wait(random.uniform(0, 3)):
            return
        try:
            answer = published.ask(TOP_REPOS, days=36500, limit=10)
            seen.add((answer.events, sum(row[1] for row in answer.rows)))
            answer = published.ask(USER_SESSIONS, days=36500, limit=10_000)
            seen.add((answer.events, sum(row[4] for row in answer.rows)))
        except Exception as error:
            failed.append(repr(error))
            return

threads = [threading.Thread(target=read) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
print("reading", flush=True)
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps([sorted(seen), failed]))
"""


def write_batch(folder, load):
    lines = [
        json.dumps(
            {
                "id": f"{load}-{number}",
                "type": "PushEvent",
                "created_at": f"2026-01-{1 + load:02}T00:{number % 60:02}:00Z",
                "actor": {"id": number % 5, "login": f"user{number % 5}"},
                "repo": {"id": 1, "name": "org/repo"},
            }
        )
        for number in range(FILE_EVENTS)
    ]
    (folder / f"events_20260101_{load:06}_batch_001.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.long
def test_fifty_readers_during_twenty_loads(tmp_path):
    raw, database = tmp_path / "raw", tmp_path / "events.duckdb"
    raw.mkdir()
    command = [
        sys.executable,
        "-c",
        READ,
        str(database.with_suffix(".published")),
        str(READERS // PROCESSES),
        str(size(4, 400)),
    ]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for reader in readers:
        assert reader.stdout.readline() == "reading\n"
    loads = size(LOADS, 400)
    for load in range(loads):
        write_batch(raw, load)
        assert load_and_publish(raw, database).inserted_events == FILE_EVENTS
    with ThreadPoolExecutor() as pool:
        answers = [said for said, _ in pool.map(lambda reader: reader.communicate(timeout=PATIENCE), readers)]
    states = {load * FILE_EVENTS for load in range(loads + 1)}
    seen = set()
    for answer in answers:
        found, failed = json.loads(answer)
        assert failed == []
        seen |= set(map(tuple, found))
    assert all(events in states and counted == events for events, counted in seen)
    # they did read while loads went on
    assert len(seen) > 3
