"""
The commands about data contracts, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import Argument, Command, Group, day, output

_CONTRACT = "airflow_provider_phlo.cli.contracts.contract"
_LISTED = output("table", "json")
_CHECKED = output("table", "json", "junit")
_CONTRACTS = Argument(
    ("contracts",),
    {
        "help": "Names of contracts, or files (all of include/contracts by default)",
        "nargs": "*",
        "metavar": "CONTRACT",
    },
)

_FORMS = "airflow_provider_phlo.cli.contracts.forms"
_OWNER = Argument(("--owner",), {"help": "Who is asked about it"})
_NAME = Argument(("--name",), {"help": "The contract's name (the table's by default)"})
_FILE = Argument(("--file",), {"help": "Write it there, if there is no such file yet (printed by default)"})
_WRITTEN_AS = Argument(
    ("--format",),
    {"help": "short, or odcs: the Open Data Contract Standard", "choices": ("short", "odcs"), "default": "short"},
)

CONTRACT_COMMANDS: tuple[Command | Group, ...] = (
    Group(
        name="contract",
        help="What tables promise to their readers, and whether they keep it",
        commands=(
            Command(
                name="list",
                help="List the contracts of the project",
                description="List the contracts in include/contracts: the short form and the Open Data Contract "
                "Standard v3. Run it in the project's folder.",
                path=f"{_CONTRACT}.contracts",
                examples=("phlo contract list",),
                exit_codes={1: "a file cannot be read as a contract"},
                arguments=(_LISTED,),
            ),
            Command(
                name="show",
                help="Show what a contract promises: columns, types, rules, service levels, consumers",
                path=f"{_CONTRACT}.contract",
                examples=("phlo contract show glucose_readings",),
                exit_codes={1: "it failed", 2: "there is no such contract, or it is wrong"},
                arguments=(Argument(("contract",), {"help": "A contract's name, or a file"}), _LISTED),
            ),
            Command(
                name="diff",
                help="Compare two versions of contracts: what changes, and whom it breaks",
                description="Compare two files, or with --git all contracts of the project as they were at a revision "
                "with those of now. A change breaks readers when they can rely on less: then the major version has to "
                "grow; when they can rely on more, the minor one.",
                path=f"{_CONTRACT}.differences",
                examples=(
                    "phlo contract diff old.yaml new.yaml",
                    "phlo contract diff --git main",
                ),
                exit_codes={
                    0: "nothing differs, or the version says what does",
                    1: "a version does not say how much has changed",
                    2: "it was refused: a contract cannot be read",
                },
                arguments=(
                    Argument(("files",), {"help": "The old file and the new one", "nargs": "*", "metavar": "FILE"}),
                    Argument(("--git",), {"help": "A commit, branch or tag of git", "metavar": "REVISION"}),
                    _CHECKED,
                ),
            ),
            Command(
                name="validate",
                help="Compare contracts with the tables as they are",
                description="Compare contracts with their tables: columns, types, NULLs, partitioning; no row is read. "
                "Where there is no table yet, the model that a DAG file declares for it is compared.",
                path=f"{_CONTRACT}.validations",
                examples=("phlo contract validate", "phlo contract validate glucose_readings --output json"),
                exit_codes={
                    0: "every table is as promised; what is only likely to be broken is said",
                    1: "one is not, or has neither table nor model, or a file is not a contract",
                    2: "it was refused: there is no such contract",
                },
                arguments=(_CONTRACTS, _CHECKED),
            ),
            Command(
                name="check",
                help="Check whether tables keep contracts: columns, rows, and with --sla service levels",
                description="Check what contracts promise of tables: columns and types, the rules for their rows by "
                "one scan of each table, and with --sla their service levels by what was published. Who relies on a "
                "contract that is broken is named.",
                path="airflow_provider_phlo.cli.contracts.check.checks",
                examples=(
                    "phlo contract check",
                    "phlo contract check glucose_readings --sla",
                    "phlo contract check --output junit > contracts.xml",
                ),
                exit_codes={
                    0: "every promise is kept; what only warns is said",
                    1: "one is broken, a table does not exist, or a file is not a contract",
                    2: "it was refused, and nothing was checked: no such contract, or SQL that does more than read",
                },
                arguments=(
                    _CONTRACTS,
                    Argument(("--sla",), {"help": "Judge service levels too", "action": "store_true"}),
                    Argument(("--partition",), {"help": "Only rows of this day", "type": day, "metavar": "DATE"}),
                    Argument(("--branch",), {"help": "The branch to read, of each table that has it"}),
                    _CHECKED,
                ),
            ),
            Command(
                name="init",
                help="Write the contract of a table: a draft of what it says now",
                description="Write include/contracts/NAME.yaml with the columns, types and rules of a table: those of "
                "the model that a DAG file declares for it, else the table's own. Nothing is overwritten.",
                path=f"{_FORMS}.new",
                examples=("phlo contract init raw.user_events --owner data-platform",),
                exit_codes={2: "it was refused: no such table or model, or the file is there already"},
                arguments=(Argument(("table",), {"help": "namespace.table"}), _OWNER, _NAME, _WRITTEN_AS),
            ),
            Command(
                name="export",
                help="Print a contract in another form",
                description="Print a contract as Open Data Contract Standard, short form, Pandera models or dbt YAML. "
                "What the other form has no words for is named on stderr.",
                path=f"{_FORMS}.exported",
                examples=(
                    "phlo contract export glucose_readings --format odcs --file glucose.odcs.yaml",
                    "phlo contract export glucose_readings --format pandera",
                ),
                exit_codes={2: "it was refused: no such contract, or the form cannot say it at all"},
                arguments=(
                    Argument(("contract",), {"help": "A contract's name, or a file"}),
                    Argument(
                        ("--format",),
                        {"help": "The other form", "choices": ("odcs", "short", "pandera", "dbt"), "required": True},
                    ),
                    _FILE,
                ),
            ),
            Command(
                name="import",
                help="Print the contract that a table, a model or a contract in another form says",
                description="Print the contract of a table, a Pandera model, a dbt model or a contract in another "
                "form. What contracts have no words for is named on stderr.",
                path=f"{_FORMS}.imported",
                examples=(
                    "phlo contract import raw.user_events --from table --owner data-platform",
                    "phlo contract import include.schemas.glucose:RawGlucoseEntries --from pandera",
                    "phlo contract import include/dbt/models/glucose/glucose.yml:fct_glucose_readings --from dbt",
                ),
                exit_codes={2: "it was refused: there is no such source, or no contract can say it"},
                arguments=(
                    Argument(
                        ("source",),
                        {"help": "A table, module:Class or path.py:Class, path.yml:model, or a contract's file"},
                    ),
                    Argument(
                        ("--from",),
                        {
                            "help": "What the source is",
                            "choices": ("table", "pandera", "dbt", "odcs", "short"),
                            "required": True,
                            "dest": "source_form",
                        },
                    ),
                    _OWNER,
                    _NAME,
                    _WRITTEN_AS,
                    _FILE,
                ),
            ),
        ),
    ),
)
