"""The stage: written whole or not at all, found again, removed when it is old."""

from __future__ import annotations

import datetime
import json
from contextlib import suppress

import pyarrow.parquet as pq
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.warehouse.stage import MANIFESTS, Stage
from airflow_provider_phlo.warehouse.stage_batches import StageBatch
from tests.unit.warehouse.models import lines, order, orders

DAY = "2026-11-28"


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "stage", "shop")


def write(stage, organization="octo-org", date=DAY, token="t1", **entities):
    with stage.writer(organization, date, token) as writer:
        for entity, tables in entities.items():
            for table in tables:
                writer.write(entity, table)
    return writer.batch


def files_below(stage):
    return sorted(str(path.relative_to(stage.root)) for path in stage.root.rglob("*") if path.is_file())


def test_a_batch_is_found_by_its_name_and_read_in_the_order_of_writing(stage):
    batch = write(stage, orders=[orders(order("a", 1)), orders(order("b", 1), order("a", 2))], lines=[lines()])
    assert batch.name == f"org=octo-org/date={DAY}/t1"
    assert stage.find(batch.name) == batch == StageBatch.from_json(json.loads(json.dumps(batch.to_json())))
    assert [row["order_id"] for table in stage.read(batch, "orders") for row in table.to_pylist()] == ["a", "b", "a"]
    assert batch.rows("orders") == 3
    assert batch.rows("lines") == batch.rows("absent") == 0
    assert all(file.path.startswith(f"shop/orders/org=octo-org/date={DAY}/") for file in batch.files["orders"])
    assert [pq.read_metadata(stage.root / file.path).num_rows for file in batch.files["orders"]] == [1, 2]


def test_what_fails_leaves_nothing(stage):
    with pytest.raises(ConfigurationError, match="cannot be staged"):
        write(stage, orders=[orders(order("a", 1))], **{"No Entity": [orders(order("a", 1))]})
    assert files_below(stage) == []
    assert stage.batches() == []


def test_an_attempt_without_manifest_does_not_exist(stage):
    batch = write(stage, orders=[orders(order("a", 1))])
    (stage.folder / MANIFESTS / f"{batch.name}.json").unlink()
    assert stage.find(batch.name) is None
    assert stage.batches() == []
    again = write(stage, orders=[orders(order("b", 1))])
    assert [row["order_id"] for table in stage.read(again, "orders") for row in table.to_pylist()] == ["b"]


def test_a_retry_finds_the_finished_batch_and_leaves_it(stage):
    first = write(stage, orders=[orders(order("a", 1))])
    there = files_below(stage)
    assert write(stage, orders=[orders(order("b", 1))]) == first
    assert files_below(stage) == there


def test_batches_come_in_the_order_of_writing_and_by_organization(stage):
    names = [("z", DAY, "t1"), ("a", DAY, "t2"), ("a", "2026-11-27", "t3")]
    for organization, date, token in names:
        write(stage, organization, date, token, orders=[orders(order("a", 1))])
    assert [batch.token for batch in stage.batches()] == ["t1", "t2", "t3"]
    assert [batch.token for batch in stage.batches(organizations=["a"])] == ["t2", "t3"]
    assert stage.batches(organizations=[]) == []


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (None, ["t1", "t2", "t3", "t4"]),
        ("2026-11-25", ["t1", "t2", "t3", "t4"]),
        # the one of an earlier day was written after it, so its rows are newer
        ("2026-11-26", ["t2", "t3", "t4"]),
        ("2026-11-28", ["t4"]),
        ("2026-11-29", []),
    ],
)
def test_since_a_day_takes_its_batches_and_all_that_were_written_after(stage, since, expected):
    for token, date in [("t1", "2026-11-25"), ("t2", "2026-11-27"), ("t3", "2026-11-24"), ("t4", DAY)]:
        write(stage, "a", date, token, orders=[orders(order("a", 1))])
    write(stage, "b", DAY, "other", orders=[orders(order("b", 1))])
    assert [batch.token for batch in stage.batches(since=since) if batch.organization == "a"] == expected
    if expected:
        assert [batch.token for batch in stage.batches(["A"], since)] == expected
    else:
        with pytest.raises(ConfigurationError, match=r"Nothing is staged of A since 2026-11-29 in "):
            stage.batches(["A"], since)


def test_a_since_that_is_not_a_day_is_refused(stage):
    with pytest.raises(ConfigurationError, match=r"since = '28\.11\.2026' is not a day"):
        stage.batches(since="28.11.2026")


@pytest.mark.parametrize("names", [("Octo-Org", "octo-org"), ("Жук" * 30 + "A", "жук" * 30 + "a")])
def test_organizations_are_found_whatever_their_case(stage, names):
    written = [write(stage, name, orders=[orders(order("a", 1))]) for name in names]
    other = write(stage, names[0] + "x", orders=[orders(order("a", 1))])
    for name in [*names, names[0].upper()]:
        assert stage.batches([name]) == written
    assert stage.batches([names[1] + "X"]) == [other]


def test_an_organization_without_batches_is_named(stage):
    write(stage, "a", orders=[orders(order("a", 1))])
    with pytest.raises(ConfigurationError, match=r"Nothing is staged of B, none in "):
        stage.batches(["a", "none", "B"])


@pytest.mark.parametrize(
    "organization",
    [
        "../../x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "日本",
        "ж" * 60,
        "ж" * 61,
        "a b?&=%2e",
        "org=x",
        "\udcff",
        "nul\0",
        "~",
        "-",
    ],
)
def test_no_name_leaves_its_folder(stage, organization):
    batch = write(stage, organization, orders=[orders(order("a", 1))])
    assert stage.find(batch.name) == batch
    assert stage.batches(organizations=[organization]) == [batch]
    for path in files_below(stage):
        parts = path.split("/")
        assert len(parts) == 5
        assert parts[2].startswith("org=")
        assert max(len(part.encode()) for part in parts) <= 255


def test_files_of_others_are_left_alone(stage):
    batch = write(stage, orders=[orders(order("a", 1))])
    for place in ("README", f"{MANIFESTS}/x.json", f"{MANIFESTS}/org=a/x.json", f"{MANIFESTS}/org=a/date=x/y z.json"):
        (stage.folder / place).parent.mkdir(parents=True, exist_ok=True)
        (stage.folder / place).write_text("mine")
    assert stage.batches() == [batch]
    assert stage.remove_expired(0) == 1
    assert len(files_below(stage)) == 4


def test_long_names_are_told_apart(stage):
    written = [write(stage, "ж" * 60 + last, orders=[orders(order("a", 1))]) for last in "ab"]
    assert len({batch.name for batch in written}) == 2
    assert stage.batches(organizations=["ж" * 60 + "a"]) == written[:1]


@pytest.mark.parametrize(
    ("organization", "date", "token"),
    [("", DAY, "t"), ("o", "28.11.2026", "t"), ("o", f"{DAY}/..", "t"), ("o", DAY, "../t"), ("o", DAY, "")],
)
def test_other_forms_are_refused(stage, organization, date, token):
    with pytest.raises(ConfigurationError), stage.writer(organization, date, token):
        pass


@pytest.mark.parametrize(
    "name", ["../x", "org=a/date=2026-11-28", "org=a/date=2026-11-28/../x", "a/date=x/t", "/etc/passwd"]
)
def test_what_does_not_name_a_batch_is_refused(stage, name):
    with pytest.raises(ConfigurationError, match="does not name a batch"):
        stage.find(name)


def test_a_missing_batch_is_named(stage):
    with pytest.raises(ConfigurationError, match=r"No batch org=a/date=2026-11-28/t in the stage"):
        stage.load("org=a/date=2026-11-28/t")


@pytest.mark.parametrize("entity", ["_batches", "a/b", "..", "", "A"])
def test_entities_are_plain_names(stage, entity):
    with pytest.raises(ConfigurationError, match="cannot be staged"), stage.writer("o", DAY, "t") as writer:
        writer.write(entity, orders(order("a", 1)))


def test_every_flipped_bit_is_found(stage):
    batch = write(stage, orders=[orders(*(order(str(key), key) for key in range(20)))])
    path = stage.root / batch.files["orders"][0].path
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ConfigurationError, match="is damaged, and its batch cannot be loaded"):
            list(stage.read(batch, "orders"))
    path.unlink()
    with pytest.raises(ConfigurationError, match="is missing, and its batch cannot be loaded"):
        list(stage.read(batch, "orders"))


def test_case_41_a_flipped_bit_in_a_manifest_is_found(stage):
    batch = write(stage, orders=[orders(order("a", 1))])
    path = stage.folder / MANIFESTS / f"{batch.name}.json"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 2]) + content[position + 1 :])
        with suppress(ConfigurationError):
            assert stage.find(batch.name) == batch, position


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("\xff", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is not the manifest of its batch"),
        ('{"version": 1, "files": {"orders": [{}]}}', "is not the manifest of its batch"),
        ('{"version": 2}', "format version 2"),
        (None, "is not the manifest of its batch"),
    ],
)
def test_a_damaged_manifest_stops_only_those_who_name_its_organization(stage, caplog, content, message):
    mine, other = (write(stage, name, "2020-01-01", orders=[orders(order("a", 1))]) for name in ("mine", "other"))
    path = stage.folder / MANIFESTS / f"{other.name}.json"
    if content is None:  # that of another organization, copied
        content = (stage.folder / MANIFESTS / f"{mine.name}.json").read_text()
    path.write_text(content, encoding="latin-1")
    assert stage.batches(["mine"]) == [mine]
    assert caplog.messages == []
    assert stage.batches() == stage.batches() == [mine]
    assert stage.remove_expired(0) == 1
    assert len(caplog.messages) == 1
    assert message in caplog.text
    assert path.exists()
    for ask in (lambda: stage.batches(["Other"]), lambda: stage.find(other.name), lambda: stage.load(other.name)):
        with pytest.raises(ConfigurationError, match=message):
            ask()


def test_old_batches_and_what_died_attempts_left_are_removed(stage, monkeypatch):
    old, new = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days) for days in (91, 1))

    def written(moment, token):
        date = moment.date().isoformat()
        with stage.writer("o", date, token) as writer:
            writer._began = moment
            writer._attempt = f"{moment:%Y%m%dT%H%M%S%f}-00000000"
            writer.write("orders", orders(order(token, 1)))
        return writer.batch

    expired, died, kept = written(old, "old"), written(old, "died"), written(new, "new")
    (stage.folder / MANIFESTS / f"{died.name}.json").unlink()
    foreign = stage.folder / "orders" / "org=o" / f"date={expired.date}" / "mine.parquet"
    foreign.write_bytes(b"")
    assert stage.remove_expired(90) == 1
    assert stage.batches() == [kept]
    assert len(files_below(stage)) == 3
    assert foreign.exists()
    assert stage.remove_expired(90) == 0
    assert not (stage.folder / MANIFESTS / expired.name).parent.exists()
