"""The catalogs and stores that the tests run on, as connections, and what the tasks of one run do with them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.hooks.dlt import DltHook
from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import LandedBatch, land, publish, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staging import StagingPlan
from airflow_provider_phlo.quality import QualityCheck, raise_for_failures
from airflow_provider_phlo.quality.scan import run_checks
from airflow_provider_phlo.services.postgres.server import PostgresServer
from airflow_provider_phlo.sql import quote
from tests.services.nessie import NessieServer
from tests.services.s3 import S3Server

DAY = "2024-01-15"
KINDS = ("sqlite-local", "postgres-local", "sqlite-s3", "postgres-s3", "nessie-s3")


@dataclass(frozen=True)
class Store:
    """
    A catalog with its store, by the settings of a user; can be handed to another process.

    :param variables: environment variables, connections among them.
    :param namespace: one of this test's own.
    """

    kind: str
    home: Path
    variables: Mapping[str, str] = field(repr=False)
    namespace: str = field(default_factory=lambda: f"n{uuid.uuid4().hex[:8]}")

    def apply(self) -> Store:
        """Make them this process's settings."""
        os.environ.update(self.variables)
        return self

    @property
    def catalog(self) -> Any:
        return PhloIcebergHook().catalog

    def definition(self, table: str = "t", **declared: Any) -> TableDefinition:
        return TableDefinition(f"{self.namespace}.{table}", **{"plan": MergePlan(key=("k",)), **declared})

    def stage(
        self, token: str, records: Sequence[Mapping[str, Any]], definition: TableDefinition, day: str = DAY
    ) -> staged_batches.StagedBatch:
        plan = StagingPlan(
            definition.table, key=definition.plan.key, declared=definition.declared, strict=False, identity=()
        )
        batch = DltHook().stage(lambda: iter(records), plan, token=token, partition_date=day, run_id=f"run {token}")
        assert batch is not None
        return batch

    def land(self, batch: staged_batches.StagedBatch, definition: TableDefinition) -> dict[str, Any]:
        root = DltHook().staging_root
        landed = land(self.catalog, root, staged_batches.load(root, batch.folder), definition)
        assert landed is not None
        return landed.to_json()

    def publish(
        self, landed: Mapping[str, Any], definition: TableDefinition, checks: Sequence[QualityCheck] = ()
    ) -> dict[str, Any]:
        """Publish, as the operators do: the checks run again when the batch had to be merged again."""
        batch, audit = LandedBatch.from_json(landed), self.audit(definition.table, checks)
        return publish(self.catalog, DltHook().staging_root, batch, definition, audit).to_json()

    def audit(self, table: str, checks: Sequence[QualityCheck]) -> Callable[[str], None]:
        return lambda branch: raise_for_failures(run_checks(self.catalog, table, checks, branch=branch))

    def run(
        self, token: str, records: Sequence[Mapping[str, Any]], definition: TableDefinition, day: str = DAY
    ) -> dict[str, Any]:
        return self.publish(self.land(self.stage(token, records, definition, day), definition), definition)

    def append(self, writer: str, runs: int, table: str = "t") -> None:
        """Append a row in each of several runs, in a process of its own."""
        self.apply()
        definition = self.definition(table, plan=MergePlan("append", deduplication=False))
        for number in range(runs):
            self.run(f"{writer}{table}{number}", [{"k": number, "v": float(ord(writer[0]))}], definition)

    def rows(self, table: str = "t", columns: str = "k, v", branch: str | None = None) -> list[tuple[Any, ...]]:
        """Return rows as SQL sees them, sorted; of a missing table none."""
        identifier = f"{self.namespace}.{table}"
        if not self.catalog.table_exists(identifier) and branch is None:
            return []
        with connect(self.catalog, tables=[identifier], branch=branch) as connection:
            return connection.sql(f"SELECT {columns} FROM {quote(identifier)} ORDER BY ALL").fetchall()

    def arrow(self, table: str = "t") -> pa.Table:
        """Return main as PyIceberg reads it."""
        return self.catalog.load_table(f"{self.namespace}.{table}").scan().to_arrow()


def embedded(home: Path) -> dict[str, str]:
    """Return the settings of a store below ``home`` and nowhere else."""
    connection = {
        "conn_type": "iceberg",
        "host": f"sqlite:///{home}/catalog.db?timeout=60",
        "extra": {"type": "sql", "warehouse": f"file://{home}/warehouse"},
    }
    return _variables(home, connection, str(home / "staging"))


def on_postgres(settings: Mapping[str, str], server: PostgresServer) -> dict[str, str]:
    """Return ``settings`` with the catalog in Postgres."""
    connection = json.loads(settings["AIRFLOW_CONN_ICEBERG_DEFAULT"])
    connection |= {"host": server.host, "port": server.port, "schema": server.dbname}
    connection |= {"login": server.user, "password": server.password}
    return {**settings, "AIRFLOW_CONN_ICEBERG_DEFAULT": json.dumps(connection)}


def on_s3(settings: Mapping[str, str], server: S3Server) -> dict[str, str]:
    """Return ``settings`` with data and staging in buckets of their own."""
    bucket = f"b{uuid.uuid4().hex[:8]}"
    connection = json.loads(settings["AIRFLOW_CONN_ICEBERG_DEFAULT"])
    connection["extra"] |= {**server.properties, "warehouse": f"{server.create_bucket(bucket)}/warehouse"}
    staging_path = f"s3://iceberg_default@{bucket}/staging"
    return {
        **settings,
        "AIRFLOW_CONN_ICEBERG_DEFAULT": json.dumps(connection),
        "AIRFLOW__PHLO__STAGING_PATH": staging_path,
    }


def on_nessie(home: Path, server: NessieServer, s3: S3Server) -> dict[str, str]:
    """Return the settings of Nessie, with staging through a connection of Airflow's own type for S3."""
    bucket = f"b{uuid.uuid4().hex[:8]}"
    s3.create_bucket(bucket)
    store = {
        "conn_type": "aws",
        "login": s3.access_key,
        "password": s3.secret_key,
        "extra": {"endpoint_url": s3.endpoint, "region_name": s3.region},
    }
    connection = {"conn_type": "iceberg", "host": server.iceberg, "extra": s3.properties}
    variables = _variables(home, connection, f"s3://staging_store@{bucket}/staging")
    return {**variables, "AIRFLOW_CONN_STAGING_STORE": json.dumps(store)}


def _variables(home: Path, connection: Mapping[str, Any], staging_path: str) -> dict[str, str]:
    (home / "warehouse").mkdir(exist_ok=True)
    return {
        "PHLO_HOME": str(home),
        "AIRFLOW_CONN_ICEBERG_DEFAULT": json.dumps(connection),
        "AIRFLOW__PHLO__STAGING_PATH": staging_path,
    }
