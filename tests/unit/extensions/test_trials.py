"""``phlo plugin check``: each promise of each kind, broken."""

from __future__ import annotations

import json
import uuid
from textwrap import dedent

import pytest

from airflow_provider_phlo.extensions import trials
from airflow_provider_phlo.installed_plugins import Kind, Plugin
from tests import plugins

CHECK = """
    from dataclasses import dataclass
    from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult
    @dataclass
    class thing(QualityCheck):
        examples = ({{"rows": [{{"v": 1}}, {{"v": None}}], "passed": True}},)
        def execute(self, df, context=None):
            {}
"""
TRANSFORM = """
    import pyarrow as pa, random
    def thing(rows):
        {}
    thing.examples = ({{"rows": [{{"v": 1}}, {{"v": 2}}, {{"v": 2}}]}},)
"""
PUBLISHER = """
    class thing:
        examples = ({{"arguments": {{"folder": "{{folder}}"}}}},)
        def __init__(self, folder): self.folder = folder
        def publish(self, marts):
            {}
"""
SOURCE = "def thing({}):\n    {}\n"
COMMANDS = """
    from airflow_provider_phlo.cli import Argument, Command, Group
    thing = Group("thing", "Things", ({}))
"""
GROUPS = {kind: kind.group for kind in Kind}


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Return a function that gives whether a plugin has failed, and what of it is not as it should be."""

    def run(kind, code):
        module = f"acme_{uuid.uuid4().hex}"
        (tmp_path / f"{module}.py").write_text(dedent(code))
        monkeypatch.syspath_prepend(str(tmp_path))
        plugin = Plugin(Kind(kind), "thing", f"{module}:thing", "acme", "1.0", ("1",))
        found = [each for each in trials.try_here(plugin, arguments=None)["trials"] if each["verdict"] != "ok"]
        failed = any(each["verdict"] == "failed" for each in found)
        return failed, {each["what"]: (each["verdict"], each["why"]) for each in found}

    return run


@pytest.fixture
def phlo_check(plugin_site, run_phlo):
    """Return a function that does so from the command line, with the exit code."""

    def run(kind, code, *arguments):
        plugins.install(plugin_site, "acme", {GROUPS[kind]: {"thing": "acme:thing"}, "phlo.api": {"1": "acme"}}, code)
        code, out, _ = run_phlo("plugin", "check", "thing", "--output", "json", *arguments)
        rows = json.loads(out) if out else []
        return code, {row["what"]: (row["verdict"], row["why"]) for row in rows if row["verdict"] != "ok"}

    return run


@pytest.mark.parametrize(
    ("body", "what", "why"),
    [
        ("return True", "it returns a result", "execute returned a bool"),
        ("return QualityCheckResult(passed=1)", "it returns a result", "passed is not True or False"),
        ("return QualityCheckResult(False)", "an example passes", "passed is False"),
        ("raise KeyError('Ann')", "it takes its example", "KeyError in execute, acme_"),
        ("df['v'] = 0; return QualityCheckResult(True)", "the rows stay as they are", "it changes the data frame"),
        (
            "self.n = getattr(self, 'n', 0) + 1; return QualityCheckResult(self.n == 1)",
            "it says the same again",
            "the second result differs",
        ),
    ],
)
def test_a_check_that_breaks_a_promise(check, body, what, why):
    failed, found = check("check", CHECK.format(body))
    assert failed
    assert found[what][0] == "failed"
    assert why in found[what][1]
    assert "Ann" not in str(found)


def test_a_check_that_cannot_judge_no_rows_is_a_surprise(check):
    failed, found = check("check", CHECK.format("return QualityCheckResult(bool(df['v'].iloc[0]))"))
    assert (failed, found) == (
        False,
        {"it judges no rows, too": ("warning", "it raises IndexError: a day without rows fails")},
    )


@pytest.mark.parametrize(
    ("body", "what", "verdict", "why"),
    [
        ("return rows.to_pylist()", "it takes its example", "failed", "returned list, not a pyarrow.Table"),
        ("return rows.append_column('r', pa.array([random.random() for _ in range(len(rows))], pa.float64()))",
         "it does the same again", "failed", "the second result differs"),
        ("return rows if len(rows) else rows.append_column('x', pa.array([], pa.int64()))",
         "no rows stay no rows, with its columns", "failed", "other columns"),
        ("return rows.select(['v'])", "it keeps track of records", "warning", "is not passed on"),
        ("return rows.slice(0, 1)", "rows do not depend on the rows beside them", "warning", "two batches"),
    ],
)  # fmt: skip
def test_a_transform_that_breaks_a_promise(check, body, what, verdict, why):
    failed, found = check("transform", TRANSFORM.format(body))
    assert found[what][0] == verdict
    assert why in found[what][1]
    assert failed is (verdict == "failed")


def test_a_transform_that_makes_something_else_of_its_example(check):
    code = "def thing(rows):\n    return rows\nthing.examples = ({'rows': [{'v': 1}], 'gives': [{'v': 2}]},)\n"
    assert check("transform", code) == (True, {"an example becomes what it gives": ("failed", "it becomes other rows")})


@pytest.mark.parametrize(
    ("body", "what", "why"),
    [
        ("return None", "it publishes marts", "does not say how many rows"),
        ("return {name: 0 for name in marts}", "it publishes marts", "has not read all rows of phlo_trial_"),
        (
            "return {name: len(m.read().read_all()) + 1 for name, m in marts.items()}",
            "it publishes marts",
            "it was given 3",
        ),
        (
            "return {name: len(m.read().read_next_batch()) for name, m in marts.items()}",
            "it takes its example",
            "StopIteration",
        ),
        ("raise OSError(28, 'No space left on device', '/x')", "it takes its example", "No space left on device: /x"),
        (
            "import os; os.mkdir(f'{self.folder}/1'); return {n: len(m.read().read_all()) for n, m in marts.items()}",
            "it takes its example",
            "File exists",
        ),
    ],
)
def test_a_publisher_that_breaks_a_promise(check, body, what, why):
    failed, found = check("publisher", PUBLISHER.format(body))
    assert failed
    assert found[what][0] == "failed"
    assert why in found[what][1]


@pytest.mark.parametrize(
    ("parameters", "body", "what", "why"),
    [
        ("", "return None", "it yields records", "it returned None"),
        ("", "return []", "it yields records", "it yields none"),
        ("", "return 7", "it takes its example", "the source returned a int"),
        ("", "yield {'id': 1}; yield 7", "a table can have them (2 tried)", "is_record of records"),
        ("name", "yield {'id': name}", "it has examples", "no examples to try"),
    ],
)
def test_a_source_that_breaks_a_promise(check, parameters, body, what, why):
    failed, found = check("source", SOURCE.format(parameters, body))
    assert failed
    assert found[what][0] == "failed"
    assert why in found[what][1]


@pytest.mark.long
def test_a_source_is_tried_with_the_arguments_that_are_given(phlo_check):
    code = "def thing(name):\n    for number in range(10**9):\n        yield {'id': number, 'name': name}\n"
    assert phlo_check("source", code, "--arguments", '{"name": "Ann"}') == (0, {})  # and is not read to its end


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_arguments_that_are_not_an_object(phlo_check, text):
    assert phlo_check("source", SOURCE.format("", "yield {'a': 1}"), "--arguments", text)[0] == 2


def test_arguments_have_an_effect_or_are_refused(phlo_check):
    assert phlo_check("transform", TRANSFORM.format("return rows"), "--arguments", "{}") == (2, {})


@pytest.mark.parametrize(
    ("commands", "what", "why"),
    [
        ("", "it has commands", "it has none"),
        ("Command('a', 'A', 'json.nothing', ()),", "a: its code is there", "there is no json.nothing"),
        ("Command('a', 'A', 'nothing.here', ()),", "it takes its example", "ModuleNotFoundError"),
        ("Command('a', 'A', 'json.loads', (Argument(('--x',), {'typ': int}),)),", "it takes its example", "TypeError"),
    ],
)
def test_commands_that_break_a_promise(check, commands, what, why):
    failed, found = check("commands", COMMANDS.format(commands))
    assert failed
    assert found[what][0] == "failed"
    assert why in found[what][1]


@pytest.mark.parametrize(
    ("examples", "why"),
    [
        ("({'rows': [], 'give': []},)", "a mapping of gives, rows"),
        ("(1,)", "a mapping of gives, rows"),
        ("()", "no examples"),
    ],
)
def test_examples_that_cannot_be_read(check, examples, why):
    failed, found = check("transform", f"def thing(rows):\n    return rows\nthing.examples = {examples}\n")
    assert failed
    assert why in str(found)


@pytest.mark.long
@pytest.mark.parametrize("body", ["while True: pass", "import os; os._exit(0)", "import os; os.abort()"])
def test_a_trial_that_hangs_or_ends_its_process(phlo_check, monkeypatch, body):
    monkeypatch.setattr(trials, "_SECONDS", 4.0)
    code, found = phlo_check("source", SOURCE.format("", body))
    assert code == 1
    assert found["its trial ends"][0] == "failed"


def test_one_that_cannot_be_used_has_failed(phlo_check):
    code, found = phlo_check("source", "import nothing_here")
    assert (code, list(found)) == (1, ["it can be used"])


def test_nothing_to_check(run_phlo):
    assert run_phlo("plugin", "check") == (0, "No installed package brings plugins to check.\n", "")
    assert run_phlo("plugin", "check", "nothing")[0] == 2
