"""What every command has: an example, exit codes, a form for programs, errors of one line; the shell completes it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.cli.terminal import environment
from airflow_provider_phlo.cli.terminal.arguments import Command
from tests.cli_page import PAGE, commands, page

COMMANDS = dict(commands())
# what these print is not facts: shell code, contracts, another program's output, what has been done
NO_FACTS = {
    "api hasura export",
    *("env", "test", "completion", "serve", "lineage export", "runs stop"),
    *("contract init", "contract export", "contract import"),
}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.cli_page"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_parses_and_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[name]
    assert command.examples
    for example in command.examples:
        line = re.sub(r'^eval "\$\((.*?)\)".*', r"\1", example).partition("|")[0].partition("  #")[0]
        program, *words = shlex.split(line)
        assert program == "phlo"
        parsed = cli._parser().parse_args(words)
        assert parsed.command == name
    with pytest.raises(SystemExit) as ended:
        cli._parser().parse_args([*name.split(), "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"\n  {example}\n" in out for example in command.examples)
    assert "\nexit codes:\n  0: " in out
    assert command.exit_codes


@pytest.mark.parametrize("name", COMMANDS)
def test_exit_codes_are_in_the_fields_and_not_in_prose(name: str) -> None:
    command = COMMANDS[name]
    assert not re.search(r"Exit code|Example:", f"{command.description} {command.help}")


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NO_FACTS))
def test_facts_come_as_a_table_or_as_json(name: str) -> None:
    forms = _option(COMMANDS[name], "--output")
    assert forms[0] in ("table", "tree")
    assert "json" in forms


def _option(command: Command, flag: str) -> tuple[str, ...]:
    found = [argument.options.get("choices", ()) for argument in command.arguments if flag in argument.flags]
    return tuple(found[0]) if found else ()


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever fails: a library's error of the deepest kind, with a value of the data in it."""

    def fail(args: argparse.Namespace) -> None:
        raise ValueError("could not convert 'Ann, 41' to int")

    monkeypatch.setattr(environment, "enter_project_environment", lambda **_: None)
    module, _, function = COMMANDS[name].path.rpartition(".")
    __import__(module)
    monkeypatch.setattr(sys.modules[module], function, fail)
    example = re.sub(r'^eval "\$\((.*?)\)".*', r"\1", COMMANDS[name].examples[0]).partition("|")[0]
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(example)[1:])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith(f"phlo {name}: ")
    assert "Ann" not in line


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("phlo servi", ["services"]),
        ("phlo services st", ["start", "stop", "status"]),
        ("phlo logs --le", ["--level"]),
        ("phlo logs --level w", ["warning"]),
        ("phlo completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_the_shell_completes(typed: str, offered: list[str], tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": typed,
        "COMP_POINT": str(len(typed)),
        "COMP_TYPE": "9",
    }
    subprocess.run([Path(sys.executable).with_name("phlo")], env=environment, check=False, capture_output=True)
    assert [line.strip() for line in answer.read_text().splitlines()] == offered


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -"), ("zsh", "compdef"), ("fish", "complete --command phlo")]
)
def test_scripts_of_shells(shell: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["completion", shell])
    assert word in capsys.readouterr().out
