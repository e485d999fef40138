"""
The commands about alerts, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import (
    FAILED_1,
    REFUSED_2,
    Argument,
    Command,
    Group,
    output,
    period,
    window,
)

_ALERTS = "airflow_provider_phlo.cli.alerting.alerts"
_LISTED = output("table", "json")
_TABLE = Argument(("--table",), {"help": "Only this table, namespace.table; * and ? are wildcards"})

ALERT_COMMANDS: tuple[Command | Group, ...] = (
    Group(
        name="alerts",
        help="What is wrong now, and who is notified",
        commands=(
            Command(
                name="list",
                help="List what is wrong now, or the rules and where their messages go",
                description="List the incidents that are not over, with since when, who was notified and who looks "
                "after them. With --rules, list the rules of include/alerting/config.yaml instead; with --silences, "
                "those that are silenced. On stderr: what is wrong in the file, which destination gets nothing and "
                "why, and whether the watcher looks at all. Run it in the project's folder.",
                path=f"{_ALERTS}.incidents",
                examples=("phlo alerts list", "phlo alerts list --rules"),
                exit_codes={**FAILED_1, 2: "the configuration is wrong: nobody is notified; what is wrong is listed"},
                arguments=(
                    Argument(
                        ("--rules",), {"help": "The rules, in the order in which they count", "action": "store_true"}
                    ),
                    Argument(("--silences",), {"help": "What is silenced now", "action": "store_true"}),
                    _LISTED,
                ),
            ),
            Command(
                name="test",
                help="Send a marked test message to each destination",
                description="Send a message that is marked as a test to destinations of include/alerting/config.yaml "
                "(all by default), and report for each whether it arrived. With --dry-run, print what would be sent.",
                path=f"{_ALERTS}.tests",
                examples=("phlo alerts test", "phlo alerts test slack --dry-run"),
                exit_codes={1: "a destination did not take it, or cannot be used", **REFUSED_2},
                arguments=(
                    Argument(
                        ("destinations",), {"help": "Names of destinations", "nargs": "*", "metavar": "DESTINATION"}
                    ),
                    Argument(("--dry-run",), {"help": "Print the message, and send nothing", "action": "store_true"}),
                    _LISTED,
                ),
            ),
            Command(
                name="silence",
                help="Notify nobody of a rule for a while",
                description="Notify nobody of a rule's incidents for a while. Incidents are still recorded: what is "
                "wrong when the time is over is sent then. --end ends a silence now.",
                path=f"{_ALERTS}.silences",
                examples=(
                    'phlo alerts silence failed-checks --for 2h --reason "backfill"',
                    "phlo alerts silence 'fresh*' --table raw.readings --for 1d",
                    "phlo alerts silence failed-checks --end",
                ),
                arguments=(
                    Argument(("rule",), {"help": "A rule's name; * and ? are wildcards"}),
                    _TABLE,
                    Argument(("--for",), {"help": "How long: 30m, 2h, 7d", "type": period, "dest": "period"}),
                    Argument(("--reason",), {"help": "Why, for others", "default": ""}),
                    Argument(("--end",), {"help": "End it now", "action": "store_true"}),
                    _LISTED,
                ),
            ),
            Command(
                name="acknowledge",
                help="Say that somebody looks after incidents: they are not repeated or escalated",
                path=f"{_ALERTS}.acknowledgements",
                examples=("phlo alerts acknowledge failed-checks --table raw.readings",),
                exit_codes={1: "it failed", 2: "there is no such open incident"},
                arguments=(
                    Argument(("incident",), {"help": "An incident's id, or a rule's name (* and ? are wildcards)"}),
                    _TABLE,
                    _LISTED,
                ),
            ),
            Command(
                name="history",
                help="List messages: sent, waiting, and why they could not be sent",
                path=f"{_ALERTS}.messages",
                examples=("phlo alerts history --days 2", "phlo alerts history --output json"),
                arguments=window("Messages of the last days", 50),
            ),
        ),
    ),
)
