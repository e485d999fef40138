"""
``phlo forget``, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import REFUSED_2, Argument, Command, days, number_option, output

FORGET_COMMANDS = (
    Command(
        name="forget",
        help="Remove the rows of a person from everywhere, and prove it",
        description=(
            "Show where the rows with a key are, ask, remove them, search again: in every snapshot, branch and file "
            "of the table, in its quarantine and staged batches, and in the tables, marts and exports that are made "
            "from it and have a copy of the key. What cannot be searched is listed. The key's value appears in no "
            "output."
        ),
        path="airflow_provider_phlo.cli.lake.forget.forget",
        examples=(
            "phlo forget --table raw.users --key 4711 --dry-run",
            "phlo forget --table raw.visits --key clinic=north --key patient=4711 --yes",
            "phlo forget --table raw.users --key - --yes",
        ),
        exit_codes={1: "something is left, and named"} | REFUSED_2,
        arguments=(
            Argument(("--table",), {"help": "namespace.table, or a table of the default namespace", "required": True}),
            Argument(
                ("--key",),
                {
                    "help": "The value of the table's key; or column=value, once for each column. - reads such lines "
                    "from the standard input: no value stays in the shell's history",
                    "action": "append",
                    "required": True,
                },
            ),
            Argument(("--dry-run",), {"help": "Only show where the rows are", "action": "store_true"}),
            Argument(("--yes",), {"help": "Do not ask", "action": "store_true"}),
            Argument(
                ("--drop-tags",),
                {
                    "help": "Drop tags that point to snapshots with the rows, instead of refusing them",
                    "action": "store_true",
                },
            ),
            Argument(
                ("--only-table",),
                {
                    "help": "Leave out what is made from the table: dbt models, marts, exports",
                    "action": "store_true",
                },
            ),
            Argument(
                ("--project",),
                {
                    "help": "The folder of a dbt project that no DAG runs; may be given several times",
                    "action": "append",
                },
            ),
            number_option(
                "--writer-days",
                days,
                3,
                "Files that no snapshot names are a running writer's until they are this old; it must be longer than "
                "any writer runs (3)",
            ),
            output("table", "json"),
        ),
    ),
)
