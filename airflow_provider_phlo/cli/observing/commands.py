"""
The commands that show what runs do, as data: logs, metrics.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import (
    API,
    REFUSED_2,
    Argument,
    Command,
    Group,
    moment_or_period,
    output,
    pattern,
    period,
)

# those of run_logs, which this module does not load
_LEVELS = ("debug", "info", "warning", "error", "critical")

OBSERVING_COMMANDS: tuple[Command | Group, ...] = (
    Command(
        name="logs",
        help="Show what tasks log, of all DAGs or of some, by time",
        description="Show the logs of tasks as one stream, ordered by time, through Airflow's API: wherever Airflow "
        "keeps them. Where no Airflow answers, and none was named, the files of the project's home are read. Times are "
        "in UTC.",
        path="airflow_provider_phlo.cli.observing.run_logs.logs",
        examples=(
            "phlo logs --asset raw.user_events --level warning",
            "phlo logs --dag glucose_platform --since 15m --follow",
            'phlo logs --since 7d --grep "quarantined [1-9]" --output json',
        ),
        exit_codes={
            1: "Airflow does not answer",
            2: "it was refused: a name is not known, or there is nothing to read",
        },
        arguments=(
            Argument(
                ("--asset",),
                {"help": "Only the tasks that make this table or other asset: its name, e.g. raw.user_events"},
            ),
            Argument(("--dag",), {"help": "Only the tasks of this DAG"}),
            Argument(("--run",), {"help": "Only the tasks of this run (its run_id), however old"}),
            Argument(("--level",), {"help": "Only messages of this level and above", "choices": _LEVELS}),
            Argument(
                ("--since",),
                {
                    "help": "Only messages of this last time (30m, 12h, 7d), or from a time on (2024-01-15T06:00Z); "
                    "the last hour, unless --run is given",
                    "type": moment_or_period,
                },
            ),
            Argument(
                ("-f", "--follow"),
                {
                    "help": "Go on with what is logged from now on, also by new runs and tries, until Ctrl-C",
                    "action": "store_true",
                },
            ),
            Argument(
                ("--grep",),
                {
                    "help": "Only messages in which this regular expression is found",
                    "type": pattern,
                    "metavar": "REGEX",
                },
            ),
            *API,
            output("table", "json"),
        ),
        alone=True,
    ),
    Command(
        name="metrics",
        help="Show figures of runs and tables: success, running times, rows, freshness",
        description="Show how runs of DAGs ended and how long they took, from Airflow's API, and what was written into "
        "tables, from their snapshots and the marks of runs: nothing is stored for it. summary (the default) is about "
        "all of them, asset NAME about one table: rows by what became of them, day by day. p95: of n running times in "
        "order, counted from 0, the one at (n - 1) * 0.95, interpolated. Days are UTC, by the time of publication.",
        path="airflow_provider_phlo.cli.observing.metrics.metrics",
        examples=("phlo metrics --period 7d", "phlo metrics asset raw.user_events --period 30d --output json"),
        exit_codes={1: "Airflow or the catalog does not answer"} | REFUSED_2,
        arguments=(
            Argument(
                ("what",),
                {"help": "summary, or asset and the name of a table", "nargs": "*", "metavar": "WHAT"},
            ),
            Argument(
                ("--period",),
                {"help": "Of this last time: 24h, 7d (24h)", "type": period, "default": "24h", "metavar": "TIME"},
            ),
            *API,
            output("table", "json"),
        ),
    ),
    Command(
        name="watch",
        help="Look at every table once: is it fresh, does it have its usual rows, what is in quarantine",
        description="Run one round of the watcher, as the DAG phlo_watch does every few minutes: judge every table by "
        "what stands with it, hand what is wrong to the rules in include/alerting/config.yaml, and record what has "
        "changed in phlo.check_results. Only metrics of alert rules read rows. Run it in the project's folder.",
        path="airflow_provider_phlo.cli.alerting.watch.watch",
        examples=("phlo watch", "phlo watch --dry-run --all", "phlo watch --dry-run --output json"),
        exit_codes={
            0: "nothing is wrong; that about which nothing can be said is printed",
            1: "something is wrong, or the round failed",
            2: "it was refused: the configuration is wrong",
        },
        arguments=(
            Argument(
                ("--dry-run",),
                {
                    "help": "Send nothing and write nothing: show what would be sent",
                    "action": "store_true",
                },
            ),
            Argument(("--all",), {"help": "Print also what is as it should be", "action": "store_true"}),
            output("table", "json"),
        ),
    ),
)
