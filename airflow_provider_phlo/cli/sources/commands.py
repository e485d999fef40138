"""
The commands about the example sources, as data: public events, pull requests.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import (
    REFUSED_2,
    Argument,
    Command,
    Group,
    day,
    number_option,
    output,
    port,
    up_to,
    window,
)

_EVENTS = "airflow_provider_phlo.cli.sources.events"
_PULLS = "airflow_provider_phlo.cli.sources.pulls"
_ORGANIZATION = Argument(
    ("--organization",),
    {
        "help": "Only batches of this organisation or user, whatever its case; may be given several times",
        "action": "append",
    },
)

SOURCE_COMMANDS: tuple[Command | Group, ...] = (
    Group(
        name="events",
        help="GitHub's public events: load them, and ask what was published last",
        commands=(
            Command(
                name="top-repos",
                help="List the repositories with the most events",
                path=f"{_EVENTS}.top_repos",
                examples=("phlo events top-repos --days 30",),
                arguments=window("Count the events of this many days", 10),
            ),
            Command(
                name="sessions",
                help="List the latest sessions of users; more than 30 minutes without an event end one",
                path=f"{_EVENTS}.sessions",
                examples=("phlo events sessions --days 1 --output csv",),
                arguments=window("Sessions that began in this many days", 50),
            ),
            Command(
                name="load",
                help="Load the batches of RAW_DIR that are new, and publish them",
                description="Load the batches of RAW_DIR that are new into the DuckDB file (DUCKDB_PATH), in this "
                "process, and publish them to readers.",
                path=f"{_EVENTS}.load",
                examples=("phlo events load --verify",),
                exit_codes={1: "files could not be loaded (all others were), or the database is locked"} | REFUSED_2,
                arguments=(
                    Argument(
                        ("--verify",),
                        {
                            "help": "Hash every file, also those with the size and time of change that they had, and "
                            "compare what is published",
                            "action": "store_true",
                        },
                    ),
                    number_option("--wait", up_to(3600), 60, "Wait this many seconds for others who load (60)"),
                    output("table", "json", "csv"),
                ),
            ),
        ),
    ),
    Command(
        name="serve",
        help="Serve the HTTP API of public events",
        description="Serve the HTTP API of public events, as Airflow's api-server does under /phlo/events; its "
        "documentation is /docs. Clients send the secret PHLO_SERVE_TOKEN; without one, only this machine is served.",
        path="airflow_provider_phlo.cli.sources.serve.serve",
        examples=("phlo serve --port 8899",),
        arguments=(
            Argument(("--host",), {"help": "Listen on this address (127.0.0.1)", "default": "127.0.0.1"}),
            Argument(("--port",), {"help": "Listen on this port (8899)", "type": port, "default": 8899}),
        ),
    ),
    Group(
        name="pulls",
        help="Pull requests of organisations: what is staged of them, and loading it again",
        commands=(
            Command(
                name="staged",
                help="List the batches in the stage",
                path=f"{_PULLS}.staged",
                examples=("phlo pulls staged --organization octo-org",),
                arguments=(
                    _ORGANIZATION,
                    Argument(
                        ("--date",),
                        {
                            "help": "Only batches of runs for this day, YYYY-MM-DD; may be given several times",
                            "type": day,
                            "action": "append",
                        },
                    ),
                    output("table", "json", "csv"),
                ),
            ),
            Command(
                name="load",
                help="Load staged batches into the warehouse, without asking GitHub",
                description="Load staged batches again, all or those that are named; what the tables have in a newer "
                "version stays.",
                path=f"{_PULLS}.load",
                examples=("phlo pulls load --from-stage --since 2024-01-15",),
                exit_codes={1: "a row breaks its model"} | REFUSED_2,
                arguments=(
                    Argument(
                        ("--from-stage",),
                        {"help": "Say that GitHub is not asked: only what is staged is loaded", "action": "store_true"},
                    ),
                    _ORGANIZATION,
                    Argument(
                        ("--since",),
                        {
                            "help": "Only the first batch of this day (YYYY-MM-DD) or a later one, and all that were "
                            "written after it",
                            "type": day,
                        },
                    ),
                    output("table", "json", "csv"),
                ),
            ),
        ),
    ),
)
