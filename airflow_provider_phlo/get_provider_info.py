"""What Airflow reads about this package: one plain dict."""

from __future__ import annotations

from typing import Any

from airflow_provider_phlo import __version__


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


# what the form of a catalog asks for beside host, port, login and password; every other extra can be written as JSON
_CATALOG_FIELDS = {
    "type": _field("Catalog type", "rest (also Nessie and AWS), or sql: tables of a database", enum=["rest", "sql"]),
    "warehouse": _field("Warehouse", "Where tables are stored (s3://bucket/warehouse), or the catalog's name for it"),
    "catalog_name": _field("Catalog name", "One database can hold several catalogs; [phlo] catalog_name if empty"),
    "scope": _field("OAuth2 scope", "REST: such as PRINCIPAL_ROLE:ALL"),
    "oauth2-server-uri": _field("OAuth2 server", "REST: where tokens are fetched, if not at the catalog"),
    "token": _field("Token", "REST: a token instead of client ID and secret", format="password"),
    "s3.endpoint": _field("S3 endpoint", "The address of a store that is not AWS's"),
    "s3.region": _field("S3 region", "Such as eu-west-1"),
    "s3.access-key-id": _field("S3 access key", "Empty: the machine's own credentials, or those of the catalog"),
    "s3.secret-access-key": _field("S3 secret key", "Belongs to the access key", format="password"),
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-phlo",
        "name": "Phlo",
        "description": "A lakehouse on Airflow: declared tables, validated, audited, written exactly once to Iceberg.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Phlo",
                "external-doc-url": "https://iceberg.apache.org/",
                "tags": ["software"],
            }
        ],
        "asset-uris": [
            {
                "schemes": ["iceberg"],
                "handler": None,
                "to_openlineage_converter": "airflow_provider_phlo.assets.iceberg.convert_asset_to_openlineage",
            }
        ],
        "connection-types": [
            {
                "connection-type": "phlo_iceberg",
                "hook-class-name": "airflow_provider_phlo.hooks.iceberg.PhloCatalogHook",
                "hook-name": "Iceberg catalog (Phlo)",
                "conn-fields": _CATALOG_FIELDS,
                "ui-field-behaviour": {
                    "relabeling": {
                        "host": "Catalog URI, or database server",
                        "port": "Port (database)",
                        "schema": "Database",
                        "login": "Client ID, or database user",
                        "password": "Client secret, or database password",
                    },
                    "placeholders": {
                        "host": "https://catalog.example.com/api/catalog, or db.example.com",
                        "port": "5432",
                        "schema": "catalog",
                        "login": "empty where a token or the machine's own credentials are used",
                    },
                },
            }
        ],
        "task-decorators": [
            {"name": "phlo_ingest", "class-name": "airflow_provider_phlo.operators.ingest.phlo_ingest_task"}
        ],
        "extra-links": [
            "airflow_provider_phlo.operators.links.CheckResultsLink",
            "airflow_provider_phlo.operators.links.TableLink",
        ],
        "sensors": [{"integration-name": "Phlo", "python-modules": ["airflow_provider_phlo.sensors.partition"]}],
        "triggers": [{"integration-name": "Phlo", "python-modules": ["airflow_provider_phlo.triggers.partition"]}],
        "notifications": ["airflow_provider_phlo.notifications.webhook.WebhookNotifier"],
        "cli": ["airflow_provider_phlo.cli.definition.get_phlo_cli_commands"],
        "config": {
            "phlo": {
                "description": "Settings of airflow-provider-phlo. All of them have working defaults.",
                "options": {
                    "catalog_name": _option(
                        "Name of the catalog in asset URIs, ``iceberg://<catalog>/<namespace>/<table>``, and the "
                        "name under which the catalog is opened.",
                        default="phlo",
                    ),
                    "default_namespace": _option("Namespace of a table name that has none.", default="raw"),
                    "project_folder": _option(
                        "The project's folder: ``include`` is in it, with contracts and alert rules. "
                        "If unset: the folder in which ``[core] dags_folder`` is.",
                        default=None,
                        example="/opt/airflow",
                    ),
                    "staging_path": _option(
                        "Where extracted batches are staged as Parquet: a path or a URL that "
                        "``airflow.sdk.ObjectStoragePath`` can read, shared by all workers. "
                        "If unset: ``staging`` in ``PHLO_HOME``.",
                        default=None,
                        example="s3://my-bucket/staging",
                    ),
                    "staging_retention_days": _option(
                        "How many days the staged files of a finished run are kept.", "integer", "7"
                    ),
                    "stage_path": _option(
                        "Where rows are staged as Parquet on their way into a warehouse, and kept for loading them "
                        "again: a path or a URL that ``airflow.sdk.ObjectStoragePath`` can read. If unset: ``stage`` "
                        "in ``PHLO_HOME``.",
                        default=None,
                        example="gs://my-bucket/stage",
                    ),
                    "stage_retention_days": _option("How many days the files of a stage are kept.", "integer", "90"),
                    "warehouse": _option(
                        "The warehouse that a stage is loaded into unless a task names one: ``iceberg``, ``snowflake`` "
                        "or ``postgres``.",
                        default="iceberg",
                        example="snowflake",
                    ),
                    "warehouse_conn_id": _option(
                        "The connection of the warehouse. If unset: ``iceberg_default``, ``snowflake_default`` or "
                        "``postgres_default``.",
                        default=None,
                        example="warehouse",
                    ),
                    "snowflake_stage": _option(
                        "Snowflake's external stage over the folder of ``stage_path``, as ``stage`` or "
                        "``database.schema.stage``.",
                        default=None,
                        example="RAW.LAKE.STAGE",
                    ),
                    "io_retries": _option("How often the DAG ``github_pull_requests`` retries a task.", "integer", "3"),
                    "io_retry_delay_seconds": _option("The seconds that it waits before each retry.", "integer", "60"),
                    "engine": _option(
                        "The engine that merges and checks unless a task names one: ``pyiceberg``, in the task's own "
                        "process, or ``trino``, through the connection ``trino_default``.",
                        default="pyiceberg",
                        example="trino",
                    ),
                    "batch_rows": _option(
                        "How many rows are converted, validated and written at a time. More rows are faster and need "
                        "more memory.",
                        "integer",
                        "50000",
                    ),
                    "undeclared_types": _option(
                        "What becomes of values that the type of an undeclared column cannot hold exactly: ``variant`` "
                        "puts them into a column beside it (``filtered__v_double``), ``error`` fails the task.",
                        default="variant",
                        example="error",
                    ),
                    "preload": _option(
                        "Import the heavy libraries once in the scheduler and the Dag processor, so that tasks "
                        "(LocalExecutor) and parsing start warm.",
                        "boolean",
                        "True",
                    ),
                    "check_results": _option(
                        "Keep the results of checks in the table ``phlo.check_results``.", "boolean", "True"
                    ),
                    "upkeep": _option(
                        "Expire snapshots beyond a table's retention as runs publish, so that costs do not grow with "
                        "their number.",
                        "boolean",
                        "True",
                    ),
                    "turn_seconds": _option(
                        "How long one writer of a table may keep the others waiting, in seconds, before they go on "
                        "without a turn; 0: writers do not wait for each other, and merge again what others overtake.",
                        "integer",
                        "300",
                    ),
                    "day_zone": _option(
                        "Time zone whose days the marts count by.", default="UTC", example="Europe/Berlin"
                    ),
                },
            }
        },
    }


def _option(
    description: str, kind: str = "string", default: str | None = None, example: str | None = None
) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }
