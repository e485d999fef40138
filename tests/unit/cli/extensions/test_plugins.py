"""``phlo plugin``, and the groups of commands that plugins bring: nothing that a plugin does harms another command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.cli.definition import COMMANDS, get_phlo_cli_commands
from airflow_provider_phlo.extensions import states
from tests import plugins
from tests.patience import PATIENCE

TAKEN = {command.name for command in COMMANDS}
UPPER = {"phlo.transforms": {"upper": "acme:upper"}}
GOOD = "def upper(rows):\n    return rows\n"


@pytest.fixture
def site(plugin_site):
    return plugin_site


@pytest.fixture
def listed(run_phlo):
    """Return a function that gives what ``phlo plugin list`` says of each plugin, by kind and name."""

    def run(*arguments):
        code, out, err = run_phlo("plugin", "list", "--output", "json", *arguments)
        assert (code, err) == (0, "")
        return [(row["kind"], row["name"], row["state"], row["why"]) for row in json.loads(out)]

    return run


def state_of(listed):
    ((_, _, state, why),) = listed()
    return state, why


def test_the_example_can_be_used(site, listed, run_phlo):
    plugins.install_example(site)
    assert listed() == [
        ("source", "jsonplaceholder", "ok", ""),
        ("check", "threshold_check", "ok", ""),
        ("transform", "uppercase", "ok", ""),
        ("publisher", "csv_files", "ok", ""),
        ("commands", "example", "ok", ""),
    ]
    assert [name for _, name, *_ in listed("--kind", "check")] == ["threshold_check"]
    code, out, _ = run_phlo("plugin", "info", "threshold_check")
    assert code == 0
    assert "package:   phlo-plugin-example\n" in out
    assert "arguments: (column: 'str', max_value: 'float', tolerance: 'float' = 0.0" in out
    assert "about:     At most a share of the values of a column is above" in out


@pytest.mark.parametrize(
    ("code", "state", "why"),
    [
        ("import nothing_here", "broken", "ModuleNotFoundError in acme.py, line 1: nothing_here is not installed"),
        ("raise SystemExit(3)", "broken", "its import ends the program (SystemExit)"),
        ("import os\nos._exit(3)", "broken", "its import: it ended its process (exit code 3)"),
        ("import os\nos.kill(os.getpid(), 9)", "broken", "its import: its process was ended by SIGKILL"),
        ("import sys\nprint('x' * 10**6)\nsys.stderr.write('x' * 10**6)\nupper = print", "ok", ""),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=[600]).start()\nupper = print", "ok", ""),
        ("import sys\nassert sys.stdin.read() == ''\nupper = print", "ok", ""),
        ("upper = 7", "broken", "acme:upper is not a function or a class, and a transform is called"),
    ],
)
def test_whatever_an_import_does_the_list_is_whole(site, listed, code, state, why):
    plugins.install(site, "acme", {**UPPER, "phlo.api": {"1": "acme"}}, code)
    found, reason = state_of(listed)
    assert (found, reason[: len(why)]) == (state, why)
    assert state != "ok" or not reason


def test_one_that_imports_for_ever_is_ended_with_what_it_has_started(site, listed, monkeypatch, tmp_path):
    monkeypatch.setattr(states, "LIMIT_SECONDS", 1.0)
    code = f"""
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        while True:
            time.sleep(1)
    """
    plugins.install(site, "acme", UPPER, code)
    assert state_of(listed) == ("broken", "its import: it had not ended after 1 s")
    pid = tmp_path / "pid"
    assert not pid.exists() or not _runs(int(pid.read_text()))


def test_slow_is_what_it_adds_to_a_task(site, listed, monkeypatch):
    monkeypatch.setattr(states, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(states, "_WARM", ("acme_library",))
    (site / "acme_library.py").write_text("import time\ntime.sleep(.5)\n")
    plugins.install(site, "acme", {**UPPER, "phlo.api": {"1": "acme"}}, f"import acme_library\n{GOOD}")
    assert state_of(listed) == ("ok", "")
    plugins.install(site, "other", {"phlo.transforms": {"late": "other:upper"}}, f"import time\ntime.sleep(.5)\n{GOOD}")
    slow = {name: (state, why) for _, name, state, why in listed()}["late"]
    assert slow[0] == "slow"
    assert slow[1].startswith("its import takes 0.")


def test_what_is_known_without_an_import(site, listed):
    code = "raise AssertionError('it was imported')"
    plugins.install(site, "acme", {**UPPER, "phlo.api": {"2": "acme"}}, code)
    assert state_of(listed)[0] == "incompatible"


def test_two_of_one_name_are_both_listed(site, listed):
    for package in ("acme", "other"):
        plugins.install(site, package, {"phlo.transforms": {"upper": f"{package}:upper"}}, GOOD)
    plugins.install(site, "third", {"phlo.sources": {"upper": "third:upper"}}, GOOD)
    assert [(kind, state) for kind, _, state, _ in listed()] == [
        ("source", "ok"), ("transform", "ambiguous"), ("transform", "ambiguous"),
    ]  # fmt: skip
    assert "in several packages, acme 1.0 and other 1.0" in listed("--kind", "transform")[0][3]


def test_a_package_that_declares_no_version_of_the_interface_is_named(site, listed):
    plugins.install(site, "acme", UPPER, GOOD)
    assert state_of(listed) == (
        "ok",
        "its package does not say which version of the plugin interface it is written for",
    )


@pytest.mark.parametrize(
    ("group", "code", "why"),
    [
        ("phlo.checks", "class thing: pass", "is not a class made of airflow_provider_phlo.quality.QualityCheck"),
        (
            "phlo.checks",
            "from airflow_provider_phlo.quality import QualityCheck\nclass thing(QualityCheck): pass",
            "lacks execute",
        ),
        ("phlo.publishers", "class thing: pass", "has no method publish(marts)"),
        ("phlo.commands", "thing = 1", "is not a Group of Commands of airflow_provider_phlo.cli"),
    ],
)
def test_one_that_is_not_what_its_kind_is_is_broken(site, listed, group, code, why):
    plugins.install(site, "acme", {group: {"thing": "acme:thing"}}, code)
    state, said = state_of(listed)
    assert (state, said) == ("broken", f"acme:thing {why}")


def test_a_table_has_no_control_characters_and_whole_reasons(site, run_phlo):
    plugins.install(site, "acme", {"phlo.transforms": {"up\x1b[2Jper": f"acme:{'x' * 100}"}}, GOOD, version="1\x07")
    code, out, _ = run_phlo("plugin", "list")
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert f"transform up·[2Jper (acme): the module acme has no '{'x' * 100}'" in out


def test_no_plugins(site, run_phlo):
    assert run_phlo("plugin", "list")[:2] == (0, "No installed package brings plugins: phlo plugin new makes one.\n")
    assert run_phlo("plugin", "list", "--output", "json")[:2] == (0, "[]\n")


def test_a_slow_one_stays_slow_where_it_cannot_be_measured_again(site, listed, monkeypatch):
    monkeypatch.setattr(states, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(states, "_WARM_SECONDS", 0.1)
    plugins.install(site, "acme", UPPER, f"import time\ntime.sleep(.3)\n{GOOD}")
    assert state_of(listed)[0] == "slow"


def test_a_plugin_that_is_not_there(site, run_phlo):
    plugins.install_example(site)
    code, out, err = run_phlo("plugin", "info", "uppercas")
    assert (code, out) == (2, "")
    assert "Did you mean uppercase?" in err


# --- groups of commands


def test_a_group_is_a_command_of_phlo(site, run_phlo):
    plugins.install_example(site)
    code, out, _ = run_phlo("example", "resources", "--output", "json")
    assert (code, len(json.loads(out))) == (0, 6)
    code, out, _ = run_phlo("--help")
    assert code == 0
    assert "An example of each kind of plugin" in out
    code, out, _ = run_phlo("example", "--help")
    assert "What the example plugin has" in out
    assert run_phlo("example", "nothing")[0] == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ImportError('x')", "cannot be used: ImportError"),
        ("GROUP = 1", "is not a Group of Commands"),
        (
            "from airflow_provider_phlo.cli import *\n"
            "GROUP = Group('acme', '100%', (Command('a', 'A', 'acme.a', (Argument(('a', '--b'), {'tpye': 1}),)),))",
            "argparse does not take the arguments or the help of its command 'a'",
        ),
        (
            "from airflow_provider_phlo.cli import *\n"
            "GROUP = Group('acme', 'Help', (Command('a', '100% done', 'acme.a', ()),))",
            "argparse does not take the arguments or the help of its command 'a'",
        ),
    ],
)
def test_a_group_that_is_broken_harms_nobody_else(site, run_phlo, code, message):
    plugins.install(site, "acme", {"phlo.commands": {"acme": "acme:GROUP"}}, code, about="100% broken")
    assert run_phlo("--help")[0] == 0
    assert run_phlo("plugin", "list")[0] == 0
    code, _, err = run_phlo("acme", "a")
    assert code == 2
    assert err.startswith("phlo acme: The commands 'acme' of acme 1.0 cannot be used: ") or message in err
    assert message in err
    assert len(err.splitlines()) == 1


def test_an_error_of_a_command_is_a_line(site, run_phlo):
    code = """
        from airflow_provider_phlo.cli import Command, Group
        GROUP = Group("other name", "Help", (Command("fail", "Fail", "acme.fail", (), alone=True),))
        def fail(args):
            raise ValueError("a secret")
    """
    plugins.install(site, "acme", {"phlo.commands": {"acme": "acme:GROUP"}}, code)
    code, out, err = run_phlo("acme", "fail")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("phlo acme fail: ValueError in fail, acme.py")


def test_no_group_takes_the_name_of_a_command(site, run_phlo, listed):
    plugins.install(site, "acme", {"phlo.commands": {"plugin": "acme:GROUP", "a b": "acme:GROUP"}}, "GROUP = 1")
    assert run_phlo("plugin", "list")[0] == 0
    assert "is a command of phlo itself" in {name: why for _, name, _, why in listed()}["plugin"]
    assert set(_groups(cli._parser_with_plugins())) == TAKEN


def test_the_code_of_a_group_is_imported_for_nobody_else(site, run_phlo):
    plugins.install(site, "acme", {"phlo.commands": {"acme": "acme:GROUP"}}, "GROUP = 1")
    run_phlo("--help")
    run_phlo("plugin", "--help")
    assert "acme" not in sys.modules


def test_the_shell_completes_their_commands(site, tmp_path):
    plugins.install_example(site)
    plugins.install(site, "acme", {"phlo.commands": {"acme": "acme:GROUP"}}, "GROUP = 1")
    out = tmp_path / "completions"

    def completed(line):
        out.unlink(missing_ok=True)
        said = {"_ARGCOMPLETE_STDOUT_FILENAME": str(out), "COMP_LINE": line, "COMP_POINT": str(len(line))}
        subprocess.run(
            [Path(sys.executable).with_name("phlo")],
            env={**os.environ, "_ARGCOMPLETE": "1", "PYTHONPATH": str(site), **said},
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
        )
        return {word.strip() for word in out.read_text().split("\013")} if out.exists() else set()

    assert completed("phlo ex") == {"example"}
    assert completed("phlo example ") >= {"resources"}
    assert completed("phlo acme ") == set()


def test_airflows_own_command_line_has_them(site, monkeypatch):
    plugins.install_example(site)
    monkeypatch.setattr(sys, "argv", ["airflow", "dags", "list"])
    assert {each.name for each in get_phlo_cli_commands()[0].subcommands} == TAKEN
    monkeypatch.setattr(sys, "argv", ["airflow", "phlo", "--help"])
    assert {each.name for each in get_phlo_cli_commands()[0].subcommands} == {*TAKEN, "example"}
    assert "phlo_example.commands" not in sys.modules
    monkeypatch.setattr(sys, "argv", ["airflow", "phlo", "example", "resources"])
    (group,) = (each for each in get_phlo_cli_commands()[0].subcommands if each.name == "example")
    assert [each.name for each in group.subcommands] == ["resources"]


def _groups(parser):
    return next(action.choices for action in parser._actions if action.choices)


def _runs(pid):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True
