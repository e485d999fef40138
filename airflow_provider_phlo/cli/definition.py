"""
The commands of ``airflow phlo`` and ``phlo``, as data.

Every ``airflow`` call loads this module, so it imports next to nothing: a command's code is loaded when it runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.alerting.commands import ALERT_COMMANDS
from airflow_provider_phlo.cli.contracts.commands import CONTRACT_COMMANDS
from airflow_provider_phlo.cli.extensions.commands import PLUGIN_COMMANDS
from airflow_provider_phlo.cli.extensions.groups import groups_for
from airflow_provider_phlo.cli.lake.forget_commands import FORGET_COMMANDS
from airflow_provider_phlo.cli.lake.maintenance_commands import MAINTENANCE_COMMANDS
from airflow_provider_phlo.cli.observing.commands import OBSERVING_COMMANDS
from airflow_provider_phlo.cli.projects.commands import PROJECT_COMMANDS
from airflow_provider_phlo.cli.projects.service_commands import SERVICE_COMMANDS
from airflow_provider_phlo.cli.running.commands import MATERIALIZE_COMMANDS
from airflow_provider_phlo.cli.serving.commands import SERVING_COMMANDS
from airflow_provider_phlo.cli.sources.commands import SOURCE_COMMANDS
from airflow_provider_phlo.cli.terminal.arguments import (
    FAILED_1,
    REFUSED_2,
    Argument,
    Command,
    Group,
    count,
    day,
    output,
)

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

HELP = "Inspect and manage the lakehouse"

_LISTED = output("table", "json")
_TABLE = Argument(("table",), {"help": "namespace.table, or a table of the default namespace"})
_BRANCH = Argument(("--branch",), {"help": "Read this branch instead of main", "default": "main"})
_CATALOG = "airflow_provider_phlo.cli.lake.catalog"
_QUARANTINE = "airflow_provider_phlo.cli.lake.quarantine"
_RECORDS = (
    Argument(("--run",), {"help": "Only records that this run set aside (its run_id)"}),
    Argument(("--reason",), {"help": "Only records whose reason contains this text, such as a column or a check"}),
    Argument(("--date",), {"help": "Only records of this partition date, YYYY-MM-DD", "type": day}),
    Argument(("--id",), {"help": "Only these records (quarantine_id)", "nargs": "+"}),
)
_LINEAGE = "airflow_provider_phlo.cli.lake.lineage"
_LINEAGE_NAME = Argument(
    ("name",),
    {
        "help": "A table, model, source, mart or dashboard, or a column of one: raw.readings.value; names with dots "
        'are quoted: raw.readings."odd.name"'
    },
)
_PROJECT = Argument(
    ("--project",),
    {"help": "The folder of a dbt project that no DAG runs; may be given several times", "action": "append"},
)
_SCHEMA = "airflow_provider_phlo.cli.lake.schema"
_DESCRIBED = "a table, package.module:Class, path.py:Class, or path.yml:model of a dbt model"

COMMANDS: tuple[Command | Group, ...] = (
    *PROJECT_COMMANDS,
    *SERVICE_COMMANDS,
    *MATERIALIZE_COMMANDS,
    *OBSERVING_COMMANDS,
    Command(
        name="query",
        help="Run one read-only SQL statement over the tables of the catalog",
        description=(
            "Run one read-only SQL statement (DuckDB's dialect) over the tables of the catalog, named "
            "namespace.table. SHOW TABLES and DESCRIBE work too."
        ),
        path="airflow_provider_phlo.cli.lake.query.query",
        examples=('phlo query "SELECT count(*) FROM raw.glucose_entries"',),
        exit_codes={1: "the statement failed"} | REFUSED_2,
        arguments=(
            Argument(("sql",), {"help": 'The statement, e.g. "SELECT count(*) FROM raw.glucose_entries"'}),
            Argument(("--branch",), {"help": "Read this branch (catalog branches) of the tables that have it"}),
            output("table", "json", "csv", "parquet"),
        ),
    ),
    Group(
        name="catalog",
        help="Tables, their history, and rollback",
        commands=(
            Command(
                name="tables",
                help="List the tables of the catalog",
                path=f"{_CATALOG}.tables",
                examples=("phlo catalog tables --schema raw",),
                arguments=(Argument(("--schema",), {"help": "Only tables of this namespace, e.g. raw"}), _LISTED),
            ),
            Command(
                name="describe",
                help="Show how and where a table is stored",
                path=f"{_CATALOG}.describe",
                examples=("phlo catalog describe raw.glucose_entries",),
                arguments=(_TABLE, _LISTED),
            ),
            Command(
                name="history",
                help="List the snapshots of a table, newest first, with the runs that made them",
                path=f"{_CATALOG}.history",
                examples=("phlo catalog history raw.glucose_entries --limit 20",),
                arguments=(
                    _TABLE,
                    Argument(("--limit",), {"help": "At most this many (10)", "type": count, "default": 10}),
                    _BRANCH,
                    _LISTED,
                ),
            ),
            Command(
                name="branches",
                help="List the branches of runs that did not publish",
                path=f"{_CATALOG}.kept_branches",
                examples=("phlo catalog branches raw.glucose_entries",),
                arguments=(_TABLE, _LISTED),
            ),
            Command(
                name="sync",
                help="Bring OpenMetadata up to date: tables, lineage, checks, contracts",
                description=(
                    "Send what OpenMetadata does not have yet: schemas, tables, columns with documentation and tags, "
                    "owners, row counts; with options lineage, checks and contracts. What people have written there "
                    "stays. The server is OPENMETADATA_HOST, its token the password of the connection."
                ),
                path="airflow_provider_phlo.cli.lake.sync.sync",
                examples=("phlo catalog sync --all --dry-run", 'phlo catalog sync --tables "raw.*" --lineage'),
                exit_codes={1: "something could not be read or sent; all else was"} | REFUSED_2,
                arguments=(
                    Argument(
                        ("--tables",), {"help": 'Only these tables; * and ? are wildcards: "raw.*"', "nargs": "+"}
                    ),
                    Argument(("--schema",), {"help": "Only tables of this namespace, e.g. raw"}),
                    Argument(
                        ("--quality-checks",),
                        {"help": "Also checks, and what they have found the last time", "action": "store_true"},
                    ),
                    Argument(("--lineage",), {"help": "Also lineage, down to columns", "action": "store_true"}),
                    Argument(("--contracts",), {"help": "Also contracts (include/contracts)", "action": "store_true"}),
                    Argument(("--all",), {"help": "All of these", "action": "store_true"}),
                    Argument(("--dry-run",), {"help": "Only show what would be sent", "action": "store_true"}),
                    Argument(("--service",), {"help": "What the service is called there (the catalog's name)"}),
                    Argument(
                        ("--conn-id",),
                        {"help": "The connection (openmetadata_default)", "default": "openmetadata_default"},
                    ),
                    _LISTED,
                ),
            ),
            Command(
                name="rollback",
                help="Set a table back to an earlier snapshot, so that later runs can be repeated",
                description=(
                    "Set main back to a snapshot of its history: the rows, the marks of published runs, and the state "
                    "from which their sources continue. Without --yes, only show what this would undo."
                ),
                path=f"{_CATALOG}.rollback",
                examples=("phlo catalog rollback raw.glucose_entries --to-time 2024-01-15T06:00:00Z",),
                arguments=(
                    _TABLE,
                    Argument(("--to-snapshot",), {"help": "The snapshot's id (catalog history)", "type": int}),
                    Argument(("--to-time",), {"help": "The snapshot that main was at then, e.g. 2024-01-15T06:00:00Z"}),
                    Argument(("--yes",), {"help": "Do it instead of only showing it", "action": "store_true"}),
                    _LISTED,
                ),
            ),
        ),
    ),
    *CONTRACT_COMMANDS,
    *ALERT_COMMANDS,
    Group(
        name="schema",
        help="Columns, types and rules of tables and models",
        commands=(
            Command(
                name="list",
                help="List the tables with the models that describe them, and the models without a table",
                description=(
                    "List the tables of the catalog, the model that a DAG file or the dbt YAML in include/dbt declares "
                    "for each, and whether the table matches it (same, compatible, breaking); then the models of "
                    "include/schemas and include/dbt without a table. DAG files are read, not run. Run this in the "
                    "project's folder."
                ),
                path=f"{_SCHEMA}.tables",
                examples=("phlo schema list --schema raw",),
                arguments=(Argument(("--schema",), {"help": "Only tables of this namespace, e.g. raw"}), _LISTED),
            ),
            Command(
                name="show",
                help="Show every column: types, nullability, ranges, allowed values, rules",
                path=f"{_SCHEMA}.columns",
                examples=("phlo schema show raw.glucose_entries",),
                arguments=(Argument(("schema",), {"help": _DESCRIBED[0].upper() + _DESCRIBED[1:]}), _LISTED),
            ),
            Command(
                name="diff",
                help="Compare two schemas: what differs, and whom it breaks",
                description=(
                    "Show what changes when rows with the schema NEW come to a table with the schema OLD. Each of the "
                    f"two is {_DESCRIBED}."
                ),
                path=f"{_SCHEMA}.differences",
                examples=("phlo schema diff raw.glucose_entries include/schemas/glucose.py:RawGlucoseEntries",),
                exit_codes={
                    1: "a difference breaks the table (the merge is refused), producers or consumers",
                    2: "a schema cannot be read",
                },
                arguments=(
                    Argument(("old",), {"help": "The schema of the table as it is"}),
                    Argument(("new",), {"help": "The schema of the rows to come"}),
                    _LISTED,
                ),
            ),
        ),
    ),
    Group(
        name="lineage",
        help="Where tables and columns come from, and what depends on them",
        commands=(
            Command(
                name="show",
                help="Show what a table or column is made from, and what is made from it",
                description=(
                    "Show what a table or column is made from, and what is made from it, as a tree. It is read from "
                    "the DAG files, the catalog, and the dbt projects that DAGs run."
                ),
                path=f"{_LINEAGE}.show_lineage",
                examples=("phlo lineage show marts.mrt_glucose_overview --upstream",),
                exit_codes=FAILED_1 | {2: "the name is not known"},
                arguments=(
                    _LINEAGE_NAME,
                    Argument(("--upstream",), {"help": "Only what it is made from", "action": "store_true"}),
                    Argument(("--downstream",), {"help": "Only what is made from it", "action": "store_true"}),
                    Argument(("--depth",), {"help": "At most this many steps", "type": count}),
                    _PROJECT,
                    Argument(
                        ("-o", "--output"),
                        {"help": "tree for people, json for programs", "choices": ("tree", "json"), "default": "tree"},
                    ),
                ),
            ),
            Command(
                name="impact",
                help="List what a change of a table or column affects, and whom to ask",
                description=(
                    "List the models, tests, checks, marts and dashboards that depend on a table or column, the DAGs "
                    "that make them, and their owners. depth 1 reads it itself."
                ),
                path=f"{_LINEAGE}.show_impact",
                examples=("phlo lineage impact raw.glucose_entries.sgv",),
                exit_codes=FAILED_1 | {2: "the name is not known"},
                arguments=(_LINEAGE_NAME, _PROJECT, _LISTED),
            ),
            Command(
                name="export",
                help="Write everything, or what belongs to a table, as a diagram or as data",
                description=(
                    "Write the lineage: mermaid or dot (diagrams of tables), json (with columns), or openlineage (one "
                    "event per line, with column lineage)."
                ),
                path=f"{_LINEAGE}.export",
                examples=("phlo lineage export --format mermaid --output lineage.mmd",),
                arguments=(
                    Argument(
                        ("name",),
                        {"help": "Only what this table is made from and what is made from it", "nargs": "?"},
                    ),
                    Argument(
                        ("--format",),
                        {"help": "The form", "choices": ("mermaid", "dot", "json", "openlineage"), "required": True},
                    ),
                    Argument(("-o", "--output"), {"help": "A file; - is the standard output (-)", "default": "-"}),
                    _PROJECT,
                ),
            ),
        ),
    ),
    Group(
        name="quarantine",
        help="Records that broke a rule: list, show and replay them",
        commands=(
            Command(
                name="list",
                help="Count quarantined records by table, run, partition date and reason",
                path=f"{_QUARANTINE}.list_records",
                examples=("phlo quarantine list raw.glucose_entries",),
                arguments=(
                    Argument(("table",), {"help": "Only of this table (all by default)", "nargs": "?"}),
                    _LISTED,
                ),
            ),
            Command(
                name="show",
                help="List records that have not been replayed",
                description="List records that have not been replayed: reason, run, position. Their values are shown "
                "only with --records, because they may be personal.",
                path=f"{_QUARANTINE}.show_records",
                examples=("phlo quarantine show raw.glucose_entries --reason sgv --records",),
                arguments=(
                    _TABLE,
                    *_RECORDS,
                    Argument(("--limit",), {"help": "At most this many (20)", "type": count, "default": 20}),
                    Argument(("--records",), {"help": "Print the records themselves too", "action": "store_true"}),
                    _LISTED,
                ),
            ),
            Command(
                name="replay",
                help="Ingest records again, after the schema or a transform was fixed",
                description="Ingest records again through runs of the DAG that declares the table, one run per "
                "partition date, with the schema, transforms, key, audit and engine as they are now. Records that go "
                "in are marked; those that fail again stay. A record never overwrites a row that came after it.",
                path=f"{_QUARANTINE}.replay",
                examples=("phlo quarantine replay raw.glucose_entries --date 2024-01-15",),
                exit_codes={1: "a run failed"} | REFUSED_2,
                arguments=(
                    _TABLE,
                    *_RECORDS,
                    Argument(("--dag",), {"help": "Which DAG, if several fill the table"}),
                    Argument(("--no-wait",), {"help": "Do not wait for the runs", "action": "store_true"}),
                    _LISTED,
                ),
            ),
        ),
    ),
    *SOURCE_COMMANDS,
    *PLUGIN_COMMANDS,
    *SERVING_COMMANDS,
    *MAINTENANCE_COMMANDS,
    *FORGET_COMMANDS,
)


def get_phlo_cli_commands() -> list[CLICommand]:
    """Return the ``phlo`` group for Airflow's own command line."""
    from airflow_provider_phlo.cli.terminal.airflow_commands import airflow_group

    return [airflow_group(HELP, (*COMMANDS, *groups_for(sys.argv, {item.name for item in COMMANDS})))]
