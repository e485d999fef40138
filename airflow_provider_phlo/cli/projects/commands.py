"""
The commands that make a project and work in it, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import REFUSED_2, Argument, Command, Group, output
from airflow_provider_phlo.scaffolding.examples import EXAMPLES

_PROJECT = "airflow_provider_phlo.cli.projects.project"

PROJECT_COMMANDS: tuple[Command | Group, ...] = (
    Command(
        name="init",
        help="Make a folder a project: DAGs, schemas, dbt models, tests, settings",
        description="Write a small project that works at once: DAGs, schemas, dbt models, tests, settings, an example "
        "of CI. A file that is there with another content stays as it is, and is named.",
        path=f"{_PROJECT}.init",
        examples=("phlo init my-lake --example glucose",),
        arguments=(
            Argument(("folder",), {"help": "The project's folder; . is this one"}),
            Argument(
                ("--example",),
                {
                    "help": "What is in it: " + "; ".join(f"{each.name}: {each.about}" for each in EXAMPLES.values()),
                    "choices": tuple(EXAMPLES),
                },
            ),
            Argument(
                ("--force",),
                {"help": "Overwrite files that are there with another content, and name them", "action": "store_true"},
            ),
            output("table", "json"),
        ),
        alone=True,
    ),
    Command(
        name="env",
        help="Print the variables with which airflow and dbt work in the project",
        description="Print export lines for a shell, after setting up what they need.",
        path=f"{_PROJECT}.print_environment",
        examples=('eval "$(phlo env)"; airflow dags list',),
        arguments=(),
        alone=True,
    ),
    Command(
        name="doctor",
        help="Check Python, packages, folders, ports, connections, dbt projects and DAG files",
        description="Check what runs of the project need, each connection by really connecting, and say what to do: "
        "Python, packages, folders, disk, clock, services, ports, connections, the catalog, dbt projects, DAG files. "
        "It starts no service, and writes to no table.",
        path="airflow_provider_phlo.cli.projects.doctor.doctor",
        examples=("phlo doctor", "phlo doctor --output json"),
        exit_codes={0: "no problem; there may be warnings", 1: "there is a problem"} | REFUSED_2,
        arguments=(output("table", "json"),),
        alone=True,
    ),
    Command(
        name="test",
        help="Run the project's tests with its variables",
        description="Run pytest on the project's tests, with the variables that phlo env prints. All arguments are "
        "pytest's: its own help is phlo test -- --help.",
        path=f"{_PROJECT}.run_tests",
        examples=("phlo test tests/test_dags.py -k import",),
        exit_codes={1: "a test failed; other codes are pytest's, too"} | REFUSED_2,
        arguments=(Argument(("arguments",), {"help": "A path, and arguments of pytest", "nargs": "*"}),),
        alone=True,
        passes_on=True,
    ),
    Command(
        name="completion",
        help="Print what makes a shell complete commands and options of phlo",
        description="Print a script for a shell, which then completes commands, options and their values on the tab "
        "key, as the installed version has them.",
        path="airflow_provider_phlo.cli.completion.print_script",
        examples=(
            'eval "$(phlo completion bash)"',
            'eval "$(phlo completion zsh)"  # after: autoload -U compinit; compinit',
            "phlo completion fish | source",
        ),
        exit_codes=REFUSED_2,
        arguments=(Argument(("shell",), {"help": "Which shell", "choices": ("bash", "zsh", "fish")}),),
        alone=True,
    ),
)
