"""
The example pipelines at scale, with another configuration and nothing else: CeleryExecutor on Redis with two workers,
one of which is killed in the middle, metadata in Postgres, tables of a REST catalog in S3. Trino finds in them what the
embedded default makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.events.terms import INGEST_DAG
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.duckdb.views import all_tables, connect
from airflow_provider_phlo.services.demo.run import Demo
from airflow_provider_phlo.services.environment import embedded, live
from airflow_provider_phlo.sql import literal, quote, quote_identifier
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX
from tests.lake import open_lake
from tests.services.nessie import NessieServer, running_nessie
from tests.services.redis import running_redis
from tests.services.s3 import S3Server
from tests.services.scaled import WORKERS, Scaled
from tests.services.stores import on_nessie
from tests.services.trino import Trino

pytestmark = pytest.mark.xdist_group("scale")

ROOT = Path(__file__).parents[2]
PATIENCE = 700
# which run it was, and when
OF_THE_RUN = {"ingested_at", "loaded_at", "read_at", "complete_until", "run_id", "quarantined_at"}


@pytest.fixture
def nessie(tmp_path: Path, s3: S3Server) -> Iterator[NessieServer]:
    """Run a Nessie of this test's own: all of its tables are compared, and the other tests' are named like them."""
    folder = tmp_path / "nessie"
    folder.mkdir()
    with running_nessie(folder, s3) as server:
        yield server


def confs(demo: Demo) -> dict[str, dict[str, Any]]:
    day = demo.last_day()
    return {
        live.GLUCOSE_DAG: {"partition_date": day, "lookback_days": 2},
        live.STATS_DAG: {"partition_date": day},
        INGEST_DAG: {},
        live.PULLS_DAG: {},
    }


def nessie_properties(nessie: NessieServer, s3: S3Server) -> dict[str, str]:
    return {"type": "rest", "uri": nessie.iceberg, **s3.properties}


def rows_of(catalog: Catalog) -> dict[str, Counter[str]]:
    """Return the rows of each table that pipelines make, without what differs from run to run."""
    found = {}
    for name in all_tables(catalog):
        if name.startswith("phlo."):
            continue
        with connect(catalog, tables=[name]) as connection:
            relation = connection.sql(f"SELECT * FROM {quote(name)}")
            of_the_run = OF_THE_RUN | ({"updated_at"} if name.endswith(QUARANTINE_SUFFIX) else set())
            kept = [each for each in relation.columns if not each.startswith("_") and each not in of_the_run]
            columns = ", ".join(map(quote_identifier, kept))
            found[name] = Counter(map(repr, relation.select(columns).fetchall()))
    return found


def counts_of(trino: Trino, tables: Iterable[str]) -> dict[str, int]:
    return {name: trino.query(f"SELECT count(*) FROM scale.{quote(name)}")[0][0] for name in tables}


@contextmanager
def scale_in(trino: Trino, nessie: NessieServer, s3: S3Server) -> Iterator[None]:
    """Give Trino the catalog for the time of the block."""
    properties = {
        "iceberg.catalog.type": "rest",
        "iceberg.rest-catalog.uri": nessie.iceberg,
        "fs.native-s3.enabled": "true",
        "s3.endpoint": s3.endpoint,
        "s3.region": s3.region,
        "s3.path-style-access": "true",
        "s3.aws-access-key": s3.access_key,
        "s3.aws-secret-key": s3.secret_key,
    }
    given = ", ".join(f"{quote_identifier(name)} = {literal(value)}" for name, value in properties.items())
    trino.query(f"CREATE CATALOG scale USING iceberg WITH ({given})")
    try:
        yield
    finally:
        trino.query("DROP CATALOG scale")


def test_all_pipelines_at_scale_make_the_tables_of_the_embedded_default(
    tmp_path: Path, nessie: NessieServer, s3: S3Server, trino: Trino, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what happens between the two runs is in neither
    monkeypatch.setenv("REPLAY_NOW", datetime.now(UTC).isoformat())
    scaled_home, embedded_home = tmp_path / "scaled", tmp_path / "embedded"
    for home in (scaled_home, embedded_home):
        embedded.prepare(home)
        embedded.choose_metadata_database(home, ROOT, change=True)
    folder = tmp_path / "redis"
    folder.mkdir()
    with running_redis(folder) as broker:
        scaled = Scaled(scaled_home, ROOT, broker, on_nessie(scaled_home, nessie, s3))
        try:
            scaled.prepare()
            scaled.start_workers()
            scaled.start_airflow()
            scaled.wait_for_dags(live.ALL_DAGS)
            scaled.wait_for_workers()
            with ThreadPoolExecutor() as pool:
                killed = pool.submit(scaled.kill_one_with_a_task)
                scaled.run(confs(scaled), PATIENCE)
                assert killed.result() in WORKERS
            at_scale = rows_of(open_catalog("phlo", {**nessie_properties(nessie, s3)}))
            with scale_in(trino, nessie, s3):
                seen_by_trino = counts_of(trino, at_scale)
        finally:
            scaled.stop()
    default = Demo(embedded_home, ROOT)
    try:
        default.prepare()
        default.start_airflow()
        default.wait_for_dags(live.ALL_DAGS)
        default.run(confs(default), PATIENCE)
    finally:
        default.stop()
    expected = rows_of(open_lake(embedded_home))
    assert seen_by_trino == {table: rows.total() for table, rows in at_scale.items()}
    assert at_scale.keys() == expected.keys()
    # the stream of public events goes on between the two
    differing = [table for table in expected if "public_" not in table and at_scale[table] != expected[table]]
    assert not differing
