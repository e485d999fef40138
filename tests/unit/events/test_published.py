from __future__ import annotations

import json
import os
import random
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_phlo.events import published
from airflow_provider_phlo.events.published import FAN_IN, GRACE_SECONDS, publish, read_manifest
from airflow_provider_phlo.events.queries import NESTED_BY_REPOSITORY, PublishedEvents
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from tests.sizes import size
from tests.unit.events.database import NOW, Event, load, open_database


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "events.published"


@pytest.fixture
def database():
    with open_database() as connection:
        yield connection


def seen(folder, readers=None):
    """Return the ids that readers see; all have times within a day."""
    answer = (readers or PublishedEvents(folder)).ask(NESTED_BY_REPOSITORY, days=2, limit=10_000, now=NOW)
    ids = [event["event_id"] for row in answer.rows for event in row[2]]
    assert len(ids) == len(set(ids)) == answer.events
    return set(ids)


def files(folder):
    return {path.name for path in folder.glob("*.parquet")}


def events(first, count):
    return [
        Event(str(number), created_at=NOW - timedelta(seconds=number % 80_000))
        for number in range(first, first + count)
    ]


def test_readers_see_what_was_published(database, folder):
    assert PublishedEvents(folder).ask(NESTED_BY_REPOSITORY, days=1, limit=1).published_at is None
    load(database, events(0, 20))
    assert publish(database, folder) == published.Publication(20, 20, rebuilt=False)
    assert seen(folder) == {str(number) for number in range(20)}
    load(database, events(20, 5))
    assert len(seen(folder)) == 20
    assert publish(database, folder) == published.Publication(25, 5, rebuilt=False)
    assert len(seen(folder)) == 25


def test_nothing_is_written_when_nothing_is_new(database, folder):
    load(database, events(0, 3))
    publish(database, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert publish(database, folder) == published.Publication(3, 0, rebuilt=False)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_only_the_owner_may_read_them(database, folder):
    umask = os.umask(0)
    try:
        load(database, events(0, 3))
        publish(database, folder)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_events_without_a_time_are_kept_and_in_nobodys_way(database, folder):
    load(database, [Event("a", created_at=None), Event("b", actor=None, repo=None)])
    assert publish(database, folder).events == 2
    load(database, [Event("c", created_at=None)])
    assert publish(database, folder).added == 1
    answer = PublishedEvents(folder).ask("top_repos", days=1, limit=5, now=NOW)
    assert (answer.events, answer.rows) == (3, [])


@pytest.mark.long
def test_a_load_rewrites_what_is_as_small_as_it(database, folder):
    """Of n events in files of ten, each is written at most once for each tier, and a reader opens few segments."""
    written, loads = 0, size(150, 1000)
    for number in range(loads):
        load(database, events(number * 10, 10))
        before = files(folder)
        publish(database, folder)
        manifest = read_manifest(folder)
        written += sum(segment.rows for segment in manifest.segments if segment.name not in before)
    tiers = len(f"{loads * 10:o}")
    assert written <= loads * 10 * tiers
    assert len(manifest.segments) < FAN_IN * tiers
    assert len(seen(folder)) == loads * 10


@pytest.fixture
def without_grace(monkeypatch):
    monkeypatch.setattr(published, "GRACE_SECONDS", -1)


def test_segments_are_removed_after_a_while(database, folder):
    for number in range(FAN_IN):
        load(database, events(number, 1))
        publish(database, folder)
    assert len(read_manifest(folder).segments) == 1
    (folder / "left-by-a-crash.parquet").touch()
    assert len(files(folder)) == FAN_IN + 2
    content = json.loads((folder / "manifest.json").read_text())
    for name in (*content["retired"], "left-by-a-crash.parquet"):
        os.utime(folder / name, (0, 0))
    # how old the file of a retired segment is does not matter
    publish(database, folder)
    assert len(files(folder)) == FAN_IN + 1
    content["retired"] = {name: since - GRACE_SECONDS - 1 for name, since in content["retired"].items()}
    (folder / "manifest.json").write_text(json.dumps(content))
    publish(database, folder)
    assert files(folder) == {segment.name for segment in read_manifest(folder).segments}
    assert read_manifest(folder).retired == {}
    assert len(seen(folder)) == FAN_IN


def test_a_reader_whose_segments_are_gone_takes_the_new_publication(database, folder, without_grace, monkeypatch):
    load(database, events(0, 3))
    publish(database, folder)
    old = read_manifest(folder)
    database.execute("DELETE FROM events WHERE event_id = '1'")
    publish(database, folder)
    assert not files(folder) & {segment.name for segment in old.segments}
    given = [old]

    def read(place):
        return given.pop() if given else read_manifest(place)

    monkeypatch.setattr("airflow_provider_phlo.events.queries.read_manifest", read)
    assert seen(folder) == {"0", "2"}


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def overwrite(path):
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES = (Path.unlink, truncate, overwrite)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_segment_that_readers_cannot_read_is_made_again(database, folder, damage):
    load(database, events(0, 3))
    publish(database, folder)
    load(database, events(3, 3))
    publish(database, folder)
    damage(folder / read_manifest(folder).segments[0].name)
    with pytest.raises(TransientError, match=r"cannot be read .*load again") as caught:
        seen(folder)
    assert str(folder) not in str(caught.value)
    load(database, events(6, 1))
    assert publish(database, folder) == published.Publication(7, 1, rebuilt=True)
    assert seen(folder) == {str(number) for number in range(7)}
    assert publish(database, folder) == published.Publication(7, 0, rebuilt=False)


@pytest.mark.parametrize("damage", [Path.unlink, truncate])
def test_a_segment_that_is_missing_or_cut_off_is_noticed_before_anybody_reads_it(database, folder, damage):
    load(database, events(0, 3))
    publish(database, folder)
    (name,) = files(folder)
    damage(folder / name)
    assert publish(database, folder) == published.Publication(3, 0, rebuilt=True)
    assert len(seen(folder)) == 3


def test_a_segment_that_cannot_be_merged_is_made_again(database, folder):
    for number in range(FAN_IN - 1):
        load(database, events(number, 1))
        publish(database, folder)
    overwrite(folder / read_manifest(folder).segments[0].name)
    load(database, events(FAN_IN - 1, 1))
    with pytest.raises(TransientError, match="Load again"):
        publish(database, folder)
    assert publish(database, folder).rebuilt
    assert len(seen(folder)) == FAN_IN


def test_a_segment_of_other_rows_is_made_again_when_it_is_suspected(database, folder):
    """A flipped bit may leave a file that can be read."""
    load(database, events(0, 3))
    publish(database, folder)
    (segment,) = read_manifest(folder).segments
    path, content = folder / segment.name, (folder / "manifest.json").read_text()
    database.execute(
        f"COPY (FROM '{path}' WHERE event_id <> '1' UNION ALL FROM '{path}' WHERE event_id = '0') TO '{path}'"
    )
    (folder / "manifest.json").write_text(content.replace(f'"size": {segment.size}', f'"size": {path.stat().st_size}'))
    assert not publish(database, folder).rebuilt
    published.suspect(folder)
    assert publish(database, folder).rebuilt
    assert len(seen(folder)) == 3


def test_what_somebody_changed_in_the_table_is_published_when_all_is_compared(database, folder):
    load(database, events(0, 3))
    publish(database, folder)
    database.execute("UPDATE events SET repo_name = 'org/renamed' WHERE event_id = '1'")
    assert not publish(database, folder).rebuilt
    assert publish(database, folder, compare=True).rebuilt
    answer = PublishedEvents(folder).ask(NESTED_BY_REPOSITORY, days=2, limit=10, now=NOW)
    assert {name for name, *_ in answer.rows} == {"org/repo1", "org/renamed"}
    assert not publish(database, folder, compare=True).rebuilt


def test_what_was_suspected_without_reason_stays(database, folder):
    load(database, events(0, 3))
    publish(database, folder)
    segments = read_manifest(folder).segments
    published.suspect(folder)
    load(database, events(3, 3))
    assert publish(database, folder) == published.Publication(6, 3, rebuilt=False)
    assert read_manifest(folder).segments[:1] == segments
    assert not (folder / "suspected").exists()


def test_another_database_is_published_anew(tmp_path, folder):
    first, copy = tmp_path / "a.duckdb", tmp_path / "b.duckdb"
    with open_database(first) as connection:
        load(connection, events(0, 5))
        publish(connection, folder)
    shutil.copyfile(first, copy)
    for path, number in ((first, 5), (copy, 105)):
        # the copy has as many rows as the publication of the other, and then more
        for _ in range(2):
            with open_database(path) as connection:
                load(connection, events(number, 2))
                result = publish(connection, folder)
                number += 2
    assert not result.rebuilt
    assert seen(folder) == {"0", "1", "2", "3", "4", "105", "106", "107", "108"}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 1, "segments": [{}]}', "\0", "TEXT"])
def test_a_manifest_that_is_damaged_is_made_again(database, folder, content):
    load(database, events(0, 5))
    publish(database, folder)
    if content == "TEXT":
        content = (folder / "manifest.json").read_text().replace('"rows": 5', '"rows": "five"')
    (folder / "manifest.json").write_text(content)
    with pytest.raises(TransientError, match="damaged: load again"):
        seen(folder)
    assert publish(database, folder).events == 5
    assert len(seen(folder)) == 5


def test_a_manifest_of_a_newer_release_is_left_alone(database, folder):
    load(database, events(0, 5))
    publish(database, folder)
    (folder / "manifest.json").write_text('{"version": 99}')
    with pytest.raises(ConfigurationError, match="version 99"):
        publish(database, folder)
    assert (folder / "manifest.json").read_text() == '{"version": 99}'


def test_a_folder_that_cannot_be_made_is_said(database, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TransientError, match="Not a directory"):
        publish(database, tmp_path / "file" / "folder")


class Killed(BaseException):
    """The process ends here."""


STEPS = ((os, "chmod"), (os, "fsync"), (Path, "replace"), (Path, "unlink"))


def publish_until(connection, folder, step):
    """Publish, and end before the given step of the file system; return whether it came to that."""
    left = [step]

    def dying(original):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, dying(getattr(owner, name)))
        try:
            publish(connection, folder)
        except Killed:
            return True
    return False


class Play:
    """A database, what readers are to see of it, and both in plain Python."""

    def __init__(self, place, seed):
        self.draw = random.Random(seed)
        self.path, self.saved, self.folder = place / "events.duckdb", place / "saved.duckdb", place / "published"
        self.connection, self.readers = open_database(self.path), PublishedEvents(self.folder)
        self.table, self.public, self.backup, self.next_id = set(), set(), set(), 0

    def seen(self):
        """Return what a server sees that was there before."""
        return seen(self.folder, self.readers)

    def insert(self):
        new = events(self.next_id, self.draw.choice([0, 1, 3, 30]))
        self.next_id += len(new)
        load(self.connection, new)
        self.table |= {event.event_id for event in new}

    def load(self):
        self.insert()
        assert publish(self.connection, self.folder).events == len(self.table)
        self.public = set(self.table)

    def crash(self):
        self.insert()
        died = publish_until(self.connection, self.folder, self.draw.randrange(8))
        # it may have died when all was done but the cleaning
        if not died or (read_manifest(self.folder) and self.seen() != self.public):
            self.public = set(self.table)

    def delete(self):
        gone = self.draw.sample(sorted(self.table), min(len(self.table), 3))
        self.connection.execute("DELETE FROM events WHERE event_id IN (SELECT unnest(?::VARCHAR[]))", [gone])
        self.table -= set(gone)

    def damage(self):
        manifest = read_manifest(self.folder)
        if manifest and manifest.segments:
            self.draw.choice(DAMAGES)(self.folder / self.draw.choice(manifest.segments).name)
            with pytest.raises(TransientError):
                self.seen()
            publish_until(self.connection, self.folder, self.draw.randrange(8))
            self.load()

    def save(self):
        self.connection.execute("CHECKPOINT")
        shutil.copyfile(self.path, self.saved)
        self.backup = set(self.table)

    def restore(self):
        self.connection.close()
        self.path.unlink()
        if self.saved.exists():
            shutil.copyfile(self.saved, self.path)
        self.connection, self.table = open_database(self.path), set(self.backup)


STEPS_OF_PLAY = (Play.load, Play.crash, Play.delete, Play.save, Play.restore, Play.damage)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(size(12, 400)))
def test_random_loads_crashes_and_losses_against_a_model(tmp_path, seed, monkeypatch):
    """Readers see the state of the table at the last publication, or the one that a crash had just finished."""
    play = Play(tmp_path, seed)
    monkeypatch.setattr(published, "GRACE_SECONDS", play.draw.choice([-1, 600]))
    for _ in range(size(40, 120)):
        play.draw.choices(STEPS_OF_PLAY, [12, 6, 1, 1, 1, 1])[0](play)
        if read_manifest(play.folder):
            assert play.seen() == play.public
            assert {segment.name for segment in read_manifest(play.folder).segments} <= files(play.folder)
    play.load()
    assert play.seen() == play.table
    play.connection.close()
