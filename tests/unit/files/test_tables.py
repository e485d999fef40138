"""Rows of CSV and Parquet files: what they leave open is decided as for lines, or named; nothing is guessed."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_phlo.exceptions import FilesFailedError
from airflow_provider_phlo.files import scanning
from tests.unit.files.conftest import event, text


def parquet(**columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def named(names, *columns):
    out = io.BytesIO()
    pq.write_table(pa.table(list(columns), names=names), out)
    return out.getvalue()


def csv_of(*rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


IDS = pa.array(["1", "2"])
STRUCT = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], ["id", "id"])
NOT_TEXT = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"\xc3(x")]
)
REFUSED = {
    "columns of one name": (
        named(["id", "id"], IDS, IDS),
        "has 2 columns id; which one counts is not known",
    ),
    "members of one name": (parquet(id=IDS, actor=STRUCT), "column actor has two members of one name"),
    "a time zone of nowhere": (
        parquet(id=IDS, created_at=pa.array([0, 0], pa.timestamp("us", "Foo/Bar"))),
        "column created_at has times of a time zone that is not known",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_parquet_file_that_cannot_be_read_is_named_and_stops_no_other(lake, counts, kind):
    content, reason = REFUSED[kind]
    bad = lake.write("a.parquet", content)
    lake.write("b.jsonl", text(event(7)))
    with pytest.raises(FilesFailedError) as caught:
        lake.load()
    assert [str(failure) for failure in caught.value.failures] == [f"{bad}: {reason}"]
    assert counts(caught.value.result) == (2, 1, 0, 1, 0)


ROWS = {
    "a time of a far year": (
        {"created_at": pa.array([9 * 10**17, 0], pa.timestamp("us"))},
        "created_at has a value of timestamp[us] that is out of bounds",
        {"id": "1", "created_at": 9 * 10**17},
    ),
    "a day of a far year": (
        {"day": pa.array([2**31 - 1, 0], pa.date32())},
        "day has a value of date32[day] that is out of bounds",
        {"id": "1", "day": 2**31 - 1},
    ),
    "text that is not UTF-8": ({"type": NOT_TEXT}, "type is not UTF-8", {"id": "1", "type": "\\xc3("}),
    "bytes that are not UTF-8": (
        {"type": pa.array([b"\xc3(", b"x"])},
        "type has bytes that are not UTF-8",
        {"id": "1", "type": "\\xc3("},
    ),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_with_a_value_that_cannot_be_kept_is_isolated(lake, counts, kind):
    columns, reason, raw = ROWS[kind]
    lake.write("a.parquet", parquet(id=IDS, **columns))
    assert counts(lake.load()) == (1, 1, 0, 1, 1)
    ((number, offset, why, kept),) = lake.rejected()
    assert (number, offset, why, json.loads(kept)) == (1, None, reason, raw)
    assert lake.query("SELECT event_id FROM events") == [("2",)]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([b"123"]),
        pa.array([b"123"], pa.binary(3)),
        pa.array([123.0]),
        pa.array([Decimal("123.0")]),
        pa.array(["123"]).dictionary_encode(),
        pa.array([123], pa.uint8()),
    ],
    ids=lambda ids: str(ids.type),
)
def test_one_id_in_any_type_is_one_event(lake, counts, ids):
    lake.write("a.jsonl", text(event(123)))
    lake.write("b.parquet", parquet(event_id=ids, actor_id=ids))
    assert counts(lake.load()) == (2, 2, 0, 1, 0)


def test_what_is_not_an_id_in_json_is_not_one_in_parquet(lake, counts):
    wrong = [[1.5], [Decimal("13.5")], [datetime(2024, 1, 1, tzinfo=UTC)], [True], [2.0**60], []]
    for number, ids in enumerate(wrong):
        lake.write(f"{number}.parquet", parquet(id=pa.array(ids)))
    assert counts(lake.load()) == (6, 6, 0, 0, 5)
    assert {reason for *_, reason, _ in lake.rejected()} == {"id is neither text nor a whole number"}


def test_columns_that_pandas_has_written(lake, counts):
    """A whole number with a gap is a fraction there, and a gap is NaN."""
    nan = float("nan")
    columns = {
        "event_id": pa.array(["1", "2", "3"]),
        "actor_id": pa.array([5.0, nan, 2.5], from_pandas=False),
        "repo_id": pa.array([Decimal("7.00"), None, None]),
        "payload": pa.array([b'{"a": 1, "a": 2}', None, None]),
    }
    lake.write("a.parquet", parquet(**columns))
    assert counts(lake.load()) == (1, 1, 0, 2, 1)
    assert lake.query("SELECT event_id, actor_id, repo_id, payload FROM events ORDER BY 1") == [
        ("1", 5, 7, '{"a":1}'),
        ("2", None, None, None),
    ]
    assert [reason for *_, reason, _ in lake.rejected()] == ["actor.id is not a whole number"]


def test_nested_json_of_a_column_is_json_to_the_letter(lake, counts):
    """What is cut off is not the text that it would be, and what the table has of a text comes back."""
    table = csv_of(
        {"id": "1", "payload": '"[a] text"'},
        {"id": "2", "payload": ' [1, "\\ud83d"]\n'},
        {"id": "3", "payload": '{"a": 1, "b'},
        {"id": "4", "payload": "[1,,3]"},
        {"id": "5", "payload": "[NaN]"},
        {"id": "6", "org": "{"},
        {"id": "7", "actor": "{]"},
        {"raw": '{"id": "8"'},
    )
    lake.write("a.csv", table)
    assert counts(lake.load()) == (1, 1, 0, 2, 6)
    assert lake.query("SELECT event_id, payload FROM events ORDER BY 1") == [
        ("1", '"[a] text"'),
        ("2", r'[1,"\\ud83d"]'),
    ]
    assert sorted(reason for *_, reason, _ in lake.rejected()) == [
        "actor is not valid JSON",
        "org is not valid JSON",
        "payload has NaN or Infinity, which JSON does not have",
        "payload is not valid JSON",
        "payload is not valid JSON",
        "raw is not valid JSON",
    ]


def test_no_value_of_a_csv_is_dropped(lake, counts):
    lake.write("a.csv", b"event_id,actor,actor_login,actor_id\n1,,bob,5\n")
    lake.write("b.csv", b"id,event_id\n,3\n4,4\n5,6\n")
    lake.write(
        "c.csv", b'id,actor,actor_login,payload\n7,"{""id"": 8}",eve,"{""a"":1,""a"":2}"\n8,"{""login"":""x""}",y,\n'
    )
    lake.write("d.csv", b"id,actor_login,type\n9,NULL,null\n")
    assert counts(lake.load()) == (4, 4, 0, 5, 2)
    assert lake.query("SELECT event_id, actor_id, actor_login, event_type, payload FROM events ORDER BY 1") == [
        ("1", 5, "bob", None, None),
        ("3", None, None, None, None),
        ("4", None, None, None, None),
        ("7", 8, "eve", None, '{"a":1}'),
        ("9", None, "NULL", "null", None),
    ]
    assert sorted(reason for *_, reason, _ in lake.rejected()) == [
        "actor_login and actor.login are not the same",
        "event_id and id are not the same",
    ]


def test_a_csv_with_a_name_twice_is_named(lake):
    lake.write("a.csv", b"event_id,event_type,event_id\n1,A,2\n")
    with pytest.raises(FilesFailedError, match="has 2 columns event_id; which one counts is not known"):
        lake.load()


@pytest.mark.long
@pytest.mark.parametrize("size", [scanning.SMALL_BYTES, 1])
def test_large_tables_are_loaded_as_small_ones(lake, counts, monkeypatch, size):
    monkeypatch.setattr(scanning, "SMALL_BYTES", size)
    lake.write("a.csv", b"id,type\n" + b"".join(b"%d,PushEvent\n" % number for number in range(12_000)))
    lake.write("b.parquet", parquet(id=pa.array(range(12_000, 24_000))))
    assert counts(lake.load()) == (2, 2, 0, 24_000, 0)
    assert counts(lake.load(verify=True)) == (2, 0, 2, 0, 0)
