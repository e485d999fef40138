"""
The commands about plugins, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import REFUSED_2, Argument, Command, Group, output

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
                "is ended after 10 seconds: ok; slow (its import takes over 1 s, beyond the libraries that tasks have "
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
        ),
    ),
)
