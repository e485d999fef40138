"""The commands."""

from __future__ import annotations

import argparse
import json

from plugin_module.commands import GROUP, squares


def test_squares(capsys):
    squares(argparse.Namespace(count=2, output="json"))
    assert json.loads(capsys.readouterr().out) == [{"number": 1, "square": 1}, {"number": 2, "square": 4}]


def test_its_code_is_where_the_group_says():
    assert [command.path for command in GROUP.commands] == [f"{squares.__module__}.squares"]
