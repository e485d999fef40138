"""
The commands of ``phlo maintenance``, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import (
    REFUSED_2,
    Argument,
    Command,
    Group,
    days,
    number_option,
    output,
)

_MAINTENANCE = "airflow_provider_phlo.cli.lake.maintenance"
_ARGUMENTS = (
    Argument(("tables",), {"help": 'Tables; * and ? are wildcards: "raw.*"', "nargs": "+"}),
    Argument(
        ("--jobs",),
        {
            "help": "Which jobs, separated by commas: compaction,manifests,expiry,orphans (all by default)",
            "default": "compaction,manifests,expiry,orphans",
        },
    ),
    number_option(
        "--target-file-bytes", int, None, "Size of compacted files (default: the table's own setting, else 128 MiB)"
    ),
    number_option("--min-files", int, 2, "Compact partitions with at least this many small files (2)"),
    number_option(
        "--snapshot-days",
        days,
        None,
        "Expire snapshots that main moved on from this many days ago (default: the table's "
        "history.expire.max-snapshot-age-ms, else 7)",
    ),
    number_option(
        "--keep-last",
        int,
        None,
        "Keep the last snapshots of main, however old: this many (default: the table's "
        "history.expire.min-snapshots-to-keep, else 10)",
    ),
    number_option("--branch-days", days, 7, "Drop branches of failed runs after this many days (7)"),
    number_option(
        "--orphan-days",
        days,
        3,
        "Remove unknown files after this many days; it must be longer than any writer runs (3)",
    ),
    Argument(
        ("--force",),
        {
            "help": "Accept less than one hour for the days above; only while nothing uses the tables",
            "action": "store_true",
        },
    ),
    output("table", "json"),
)

MAINTENANCE_COMMANDS = (
    Group(
        name="maintenance",
        help="Compact tables, expire snapshots, remove orphan files",
        commands=(
            Command(
                name="plan",
                help="Show what maintenance would do, and how much",
                path=f"{_MAINTENANCE}.plan",
                examples=('phlo maintenance plan "raw.*"',),
                arguments=_ARGUMENTS,
            ),
            Command(
                name="run",
                help="Run maintenance; safe while writers run",
                description="Do what plan shows.",
                path=f"{_MAINTENANCE}.run",
                examples=('phlo maintenance run "raw.*" --jobs compaction,expiry',),
                exit_codes={1: "a table failed"} | REFUSED_2,
                arguments=_ARGUMENTS,
            ),
        ),
    ),
)
