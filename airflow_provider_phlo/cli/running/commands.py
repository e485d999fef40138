"""
The commands that run what makes assets, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import (
    API,
    REFUSED_2,
    Argument,
    Command,
    Group,
    day,
    number_option,
    output,
    up_to,
)

_MOST_DAYS_AT_ONCE = 64
_MATERIALIZE = "airflow_provider_phlo.cli.running.materialize"
_ASSETS = Argument(
    ("assets",),
    {
        "help": "Tables and models by name, or selectors as in dbt: raw.events, events, events+, +mart, 2+mart, "
        '"raw.*", group:github, tag:dbt, path:models/glucose, dag:glucose_platform; a comma means and, a space or',
        "nargs": "*",
        "metavar": "ASSET",
    },
)
_SELECT = Argument(("--select",), {"help": "More selectors", "metavar": "SELECTOR", "action": "append", "default": []})
_HOW = (
    Argument(("--dag",), {"help": "The DAG that makes them, if several do", "metavar": "DAG"}),
    Argument(
        ("--full-refresh",),
        {"help": "Build incremental dbt models from scratch", "action": "store_true"},
    ),
    Argument(
        ("--conf",),
        {"help": 'More of the run\'s conf, as a JSON object: {"lookback_days": 3}', "metavar": "JSON"},
    ),
    Argument(
        ("--unpause",),
        {"help": "Unpause DAGs, also those that somebody has paused", "action": "store_true"},
    ),
)

MATERIALIZE_COMMANDS: tuple[Command | Group, ...] = (
    Command(
        name="materialize",
        help="Run the tasks that make assets, and follow them",
        description="Find the DAGs and tasks that make assets, start runs in which exactly those tasks run, and follow "
        "them; then show the rows, checks and time of each asset. A DAG that is new is unpaused. Ctrl-C stops "
        "watching; the runs go on.",
        path=f"{_MATERIALIZE}.materialize",
        examples=(
            "phlo materialize raw.glucose_entries --partition 2024-01-15",
            "phlo materialize +mrt_glucose_overview",
            "phlo materialize dag:glucose_platform --no-wait",
        ),
        exit_codes={1: "an asset was not made"} | REFUSED_2,
        arguments=(
            _ASSETS,
            _SELECT,
            Argument(("--partition",), {"help": "The partition date, YYYY-MM-DD", "type": day, "metavar": "DAY"}),
            *_HOW,
            Argument(
                ("--no-wait",),
                {"help": "Only start the runs, and print what they are", "dest": "wait", "action": "store_false"},
            ),
            Argument(
                ("--wait",),
                {"help": "Follow the runs to their end (the default)", "action": "store_true", "default": True},
            ),
            *API,
            output("table", "json"),
        ),
        alone=True,
    ),
    Command(
        name="backfill",
        help="Make assets for many days, some at once",
        description="Run the tasks that make assets once for each day, a number of days at once. A day is done by "
        "runs of its own, so that two backfills do not disturb each other. After Ctrl-C, --resume goes on.",
        path="airflow_provider_phlo.cli.running.backfill.backfill",
        examples=(
            "phlo backfill dag:glucose_platform --start-date 2024-01-01 --end-date 2024-01-31 --parallel 4",
            "phlo backfill raw.glucose_entries --start-date 2024-01-01 --end-date 2024-01-31 --missing --dry-run",
        ),
        exit_codes={1: "a day failed"} | REFUSED_2,
        arguments=(
            _ASSETS,
            _SELECT,
            Argument(("--start-date",), {"help": "The first day", "type": day, "metavar": "DAY", "required": True}),
            Argument(("--end-date",), {"help": "The last day", "type": day, "metavar": "DAY", "required": True}),
            number_option("--parallel", up_to(_MOST_DAYS_AT_ONCE), 1, "At most this many days at once (1)"),
            Argument(
                ("--missing",),
                {
                    "help": "Only days that a selected table does not have: by its snapshots, not by what has run",
                    "action": "store_true",
                },
            ),
            Argument(
                ("--failed",),
                {"help": "Only days for which a task failed when it was last tried", "action": "store_true"},
            ),
            Argument(("--dry-run",), {"help": "Show the days, and start nothing", "action": "store_true"}),
            Argument(
                ("--resume",),
                {
                    "help": "Leave out days that an earlier attempt of this backfill has done, and follow its runs",
                    "action": "store_true",
                },
            ),
            *_HOW,
            *API,
            output("table", "json"),
        ),
        alone=True,
    ),
    Group(
        name="runs",
        help="Runs of DAGs",
        commands=(
            Command(
                name="stop",
                help="End a run that is queued or running",
                description="End a run: Airflow marks it as failed, and ends its tasks.",
                path=f"{_MATERIALIZE}.stop",
                examples=("phlo runs stop glucose_platform phlo__2024-01-15T06:00:00+00:00_1a2b3c4d",),
                arguments=(
                    Argument(("dag",), {"help": "The DAG"}),
                    Argument(("run",), {"help": "The run's id"}),
                    *API,
                ),
                alone=True,
            ),
        ),
    ),
)
