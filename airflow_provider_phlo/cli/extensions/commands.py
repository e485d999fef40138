"""
The commands about plugins, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from airflow_provider_phlo.cli.terminal.arguments import REFUSED_2, Argument, Command, Group, output


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")


_PLUGIN = "airflow_provider_phlo.cli.plugin"
_KINDS = ("source", "check", "transform", "publisher", "commands")
_KIND = Argument(("--kind",), {"help": "Only plugins of this kind", "choices": _KINDS})

PLUGIN_COMMANDS: tuple[Command | Group, ...] = (
    Group(
        name="plugin",
        help="Sources, checks, transforms, publishers and commands of installed packages",
        commands=(
            Command(
                name="list",
                help="List plugins, whether each can be used, and why not",
                description="List the plugins of installed packages. Each is imported in a process of its own, which "
                "is ended after 20 seconds: ok; slow (its import takes over 1 s, beyond the libraries that tasks have "
                "in memory); broken; incompatible (written for another version of the plugin interface); ambiguous "
                "(several packages have one of its name).",
                path=f"{_PLUGIN}.list_plugins",
                examples=("phlo plugin list",),
                exit_codes=REFUSED_2,
                arguments=(_KIND, output("table", "json")),
                alone=True,
            ),
            Command(
                name="info",
                help="Show all there is to know of a plugin",
                path=f"{_PLUGIN}.info",
                examples=("phlo plugin info threshold_check",),
                exit_codes={2: "there is no such plugin"},
                arguments=(
                    Argument(("name",), {"help": "Its name, or package:name"}),
                    _KIND,
                    output("table", "json"),
                ),
                alone=True,
            ),
            Command(
                name="check",
                help="Try plugins on their own examples: do they keep what their kind promises",
                description="Try plugins, each in a process of its own, on the examples that their authors give: a "
                "source yields records, a check says what is expected, a transform makes a table of a table and "
                "loses track of no record, a publisher writes what it is given, commands can be parsed.",
                path=f"{_PLUGIN}.check",
                examples=(
                    "phlo plugin check uppercase threshold_check",
                    """phlo plugin check jsonplaceholder --arguments '{"resource": "posts"}'""",
                ),
                exit_codes={1: "one does not keep a promise"} | REFUSED_2,
                arguments=(
                    Argument(("names",), {"help": "Names, or package:name; all when there is none", "nargs": "*"}),
                    _KIND,
                    Argument(
                        ("--arguments",),
                        {
                            "help": "A JSON object: the arguments of one source or publisher, in place of its examples",
                            "type": json_object,
                        },
                    ),
                    output("table", "json"),
                ),
                alone=True,
            ),
            Command(
                name="new",
                help="Make a package with a plugin of your own, its tests and a README",
                description="Write a small package with one plugin that works, its tests and a README. The folder's "
                "name is that of the package (phlo-prices, with the module phlo_prices and the plugin prices). What "
                "is there already is never touched.",
                path=f"{_PLUGIN}.new",
                examples=("phlo plugin new phlo-prices --kind source",),
                exit_codes=REFUSED_2,
                arguments=(
                    Argument(("folder",), {"help": "The package's folder; it is made"}),
                    Argument(("--kind",), {"help": "What it is", "choices": _KINDS, "required": True}),
                    output("table", "json"),
                ),
                alone=True,
            ),
        ),
    ),
)
