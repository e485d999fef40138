"""
The commands about the services of a project, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import (
    REFUSED_2,
    Argument,
    Command,
    Group,
    number_option,
    output,
    up_to,
)

_SERVICES = "airflow_provider_phlo.cli.projects.services"
_NAMES = Argument(("names",), {"help": "Only these services (all by default)", "nargs": "*", "metavar": "NAME"})
_MODE = Argument(
    ("--mode",),
    {
        "help": "embedded: processes of this machine (the default); compose: the containers of docker-compose.yaml",
        "choices": ("embedded", "compose"),
        "default": "embedded",
    },
)
_DEV = Argument(
    ("--dev",),
    {
        "help": "Pick up changed code without a restart by hand: DAG files, the project's modules, dbt models, and "
        "this package",
        "action": "store_true",
    },
)
_LISTED = output("table", "json")
_WHICH = "Services: postgres, api-server, scheduler, dag-processor, triggerer"

SERVICE_COMMANDS: tuple[Command | Group, ...] = (
    Group(
        name="services",
        help="Airflow and the bundled Postgres of a project, in the background",
        commands=(
            Command(
                name="init",
                help="Set up what the services need, without starting them",
                description="Make the folders, passwords and databases of the project that this folder belongs to, and "
                "have dbt parse its models. What is there is left as it is; nothing goes on running. With --mode "
                "compose: generate the secrets that docker-compose.yaml asks for and .env lacks.",
                path=f"{_SERVICES}.init",
                examples=("phlo services init", "phlo services init --mode compose"),
                exit_codes={1: "a part did not get ready"} | REFUSED_2,
                arguments=(_MODE, _LISTED),
                alone=True,
            ),
            Command(
                name="start",
                help="Start the services in the background, and wait until they are healthy",
                description="Start the services of the project that this folder belongs to, in the background, and "
                "wait until they are healthy; the first time, set up their databases and passwords. One that dies is "
                f"started again. {_WHICH}.",
                path=f"{_SERVICES}.start",
                examples=("phlo services start", "phlo services start --dev"),
                exit_codes={1: "one does not run"} | REFUSED_2,
                arguments=(_NAMES, _DEV, _MODE, _LISTED),
                alone=True,
            ),
            Command(
                name="stop",
                help="End the services, also after a crash",
                description="End the services and all that they have started, also what was left behind by a "
                "supervisor that was killed.",
                path=f"{_SERVICES}.stop",
                examples=("phlo services stop", "phlo services stop triggerer"),
                exit_codes={1: "one does not end"} | REFUSED_2,
                arguments=(_NAMES, _MODE, _LISTED),
                alone=True,
            ),
            Command(
                name="restart",
                help="Start services again; all of them read phlo.yaml and .env again",
                description="End services and start them again. Without a name all, and with phlo.yaml and .env as "
                "they are now.",
                path=f"{_SERVICES}.restart",
                examples=("phlo services restart dag-processor",),
                exit_codes={1: "one does not run"} | REFUSED_2,
                arguments=(_NAMES, _DEV, _MODE, _LISTED),
                alone=True,
            ),
            Command(
                name="status",
                help="Show how the services are: state, health, process, port, version, uptime, memory, log",
                path=f"{_SERVICES}.status",
                examples=("phlo services status --output json",),
                exit_codes={1: "one is not healthy"} | REFUSED_2,
                arguments=(_NAMES, _MODE, _LISTED),
                alone=True,
            ),
            Command(
                name="logs",
                help="Show what the services write",
                description="Show the last lines of the output of the services and of their supervisor.",
                path=f"{_SERVICES}.logs",
                examples=("phlo services logs scheduler --follow",),
                arguments=(
                    _NAMES,
                    number_option("--lines", up_to(100_000), 20, "The last lines of each: this many (20)"),
                    Argument(
                        ("-f", "--follow"),
                        {"help": "Go on with what is written from now on, until Ctrl-C", "action": "store_true"},
                    ),
                    _MODE,
                    _LISTED,
                ),
                alone=True,
            ),
        ),
    ),
)
