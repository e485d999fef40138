"""A publication is the same whatever the role, the database, a pooler or who made the connection has set."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg
import pyarrow as pa
import pytest
from psycopg.rows import dict_row

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.publishing.postgres import Declaration, Mart, publish_together

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

COMMENT = "C:\\new 'x\\'"
DECLARED = Declaration(key=("id",), comment=COMMENT, comments={"t": COMMENT})
SETTINGS = [
    "client_encoding=LATIN1",
    "client_encoding=SQL_ASCII",
    "datestyle=German",
    "default_transaction_isolation=serializable",
    "extra_float_digits=-10",
    "idle_in_transaction_session_timeout=40",
    "lock_timeout=40",
    "quote_all_identifiers=on",
    "search_path=pg_catalog",
    "standard_conforming_strings=off",
    "timezone=Asia/Kathmandu",
]
ROWS = pa.table({"id": [1, 2], "t": ["café", "名前"], "l": [["é"], None], "v": [0.1 + 0.2, -0.0]})


def publish(connection, rows=ROWS):
    return publish_together([Mart("m", rows.schema, lambda: rows, None, DECLARED)], connection)["m"]


def content(connection):
    return connection.execute("SELECT id, t, l, v::text FROM marts.m ORDER BY id", prepare=False).fetchall()


RIGHT = [(1, "café", ["é"], "0.30000000000000004"), (2, "名前", None, "-0")]


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_a_role_or_database_change_nothing(connection, server, setting):
    with closing(psycopg.connect(server.uri, options=f"-c {setting}", autocommit=True)) as own:
        query = f"SELECT current_setting('{setting.split('=')[0]}')"
        before = own.execute(query, prepare=False).fetchone()
        assert publish(own).altered == (
            'CREATE UNIQUE INDEX ON "marts"."m" USING "btree" ("id")',
            """COMMENT ON TABLE "marts"."m" IS 'C:\\new ''x\\'''""",
            """COMMENT ON COLUMN "marts"."m"."t" IS 'C:\\new ''x\\'''""",
        )
        assert publish(own).altered == ()
        assert own.execute(query, prepare=False).fetchone() == before
    assert content(connection) == RIGHT
    found = connection.execute("SELECT obj_description('marts.m'::regclass), col_description('marts.m'::regclass, 2)")
    assert found.fetchone() == (COMMENT, COMMENT)


@pytest.mark.parametrize(
    "given",
    [
        {"row_factory": dict_row},
        {"cursor_factory": psycopg.ClientCursor},
        {"cursor_factory": psycopg.RawCursor},
        {"prepare_threshold": 0},
    ],
    ids=lambda given: next(iter(given)),
)
def test_any_connection_of_psycopg_will_do_and_is_given_back_as_it_was(connection, server, given):
    with closing(psycopg.connect(server.uri, autocommit=True, **given)) as own:
        for _ in range(2):
            publish(own)
        assert all(getattr(own, name) == value for name, value in given.items())
    assert content(connection) == RIGHT


def test_nothing_is_prepared_which_a_pooler_would_give_to_others(server, connection):
    with closing(psycopg.connect(server.uri, autocommit=True)) as own:
        for _ in range(4):
            publish(own)
        found = own.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False)
        assert found.fetchone() == (0,)


def test_a_statement_that_takes_too_long_for_the_role_says_so(server, connection):
    publish(connection)
    big = pa.table({**{name: ROWS[name].take([0] * 200_000) for name in "tlv"}, "id": range(200_000)}).select(
        ["id", "t", "l", "v"]
    )
    with (
        closing(psycopg.connect(server.uri, options="-c statement_timeout=30", autocommit=True)) as own,
        pytest.raises(TransientError, match=r"longer than the role's statement_timeout"),
    ):
        publish(own, big)
    assert content(connection) == RIGHT


def test_a_time_limit_of_transactions_is_that_of_others(server, connection):
    if connection.info.server_version < 170000:
        pytest.skip("transaction_timeout is one of 17")
    with closing(psycopg.connect(server.uri, options="-c transaction_timeout=200", autocommit=True)) as own:

        def slow():
            time.sleep(0.5)
            return ROWS

        publish_together([Mart("m", ROWS.schema, slow)], own)
    assert content(connection) == RIGHT
