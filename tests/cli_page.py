"""
``docs/cli.md``: every command of ``phlo``, written by ``python -m tests.cli_page``, from what the parsers are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from airflow_provider_phlo.cli.definition import COMMANDS
from airflow_provider_phlo.cli.terminal.arguments import VERBOSE, Argument, Command, Group

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """\
# The command line

`phlo` and `airflow phlo` are the same program; `phlo` starts faster, since it loads Airflow only where a command needs
it. Each command explains itself: `phlo COMMAND --help`. Results go to the standard output, messages to the standard
error; `--output json` has raw values for programs, tables are for people: they fit the terminal, and are coloured where
it shows colours (`NO_COLOR` switches that off). An error is one line without a traceback; `--verbose` adds what it came
from. Ctrl-C ends a command with code 130; a reader that closes the pipe (`| head`) with 0 or 141.

The tab key: `eval "$(phlo completion bash)"` in `~/.bashrc` (also `zsh`, `fish`).

This page is made from the parsers (`python -m tests.cli_page`): do not edit it.
"""


def commands(items: Sequence[Command | Group] = COMMANDS, above: str = "") -> Iterator[tuple[str, Command]]:
    """Yield the commands with their whole names."""
    for item in items:
        if isinstance(item, Group):
            yield from commands(item.commands, f"{above}{item.name} ")
        else:
            yield f"{above}{item.name}", item


def page() -> str:
    """Return the text of the page."""
    found = list(commands())
    lines = [HEAD, "| command | what it does |", "|---|---|"]
    lines += [f"| [`phlo {name}`](#{_anchor(name)}) | {_cell(command.help)} |" for name, command in found]
    for name, command in found:
        lines += ["", f"## phlo {name}", "", command.description or f"{command.help}.", ""]
        lines += ["```bash", *command.examples, "```"]
        if command.arguments:
            lines += ["", "| argument | |", "|---|---|"]
            lines += [f"| {_flags(each)} | {_about(each)} |" for each in command.arguments]
        codes = {0: "it was done", **command.exit_codes}
        lines += ["", f"Exit codes: {'; '.join(f'**{code}** {codes[code]}' for code in sorted(codes))}."]
    lines += ["", f"Every command has {_flags(VERBOSE)}: {_about(VERBOSE)[0].lower()}{_about(VERBOSE)[1:]}."]
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    return f"phlo-{name.replace(' ', '-')}"


def _flags(argument: Argument) -> str:
    options = argument.options
    name = argument.flags[-1]
    if not name.startswith("-"):
        shown = options.get("metavar", name)
        return f"`{shown}`{' …' if options.get('nargs') in ('*', '+') else ''}"
    value = options.get("metavar", name.lstrip("-").replace("-", "_").upper())
    takes = "" if options.get("action") == "store_true" else f" {'|'.join(options.get('choices', ())) or value}"
    more = " …" if options.get("nargs") in ("*", "+") else ""
    return "<br>".join(f"`{_cell(flag + takes)}`{more}" for flag in argument.flags)


def _about(argument: Argument) -> str:
    options = argument.options
    text = _cell(str(options.get("help", "")))
    if not argument.flags[0].startswith("-") and options.get("choices"):
        text += f": {', '.join(options['choices'])}"
    optional = not argument.flags[0].startswith("-") and options.get("nargs") in ("?", "*")
    needed = argument.flags[0].startswith("-") and options.get("required")
    return f"{text}{' (optional)' if optional else ' (required)' if needed else ''}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
