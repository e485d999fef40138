"""Plugins that cannot be used are named once, where Airflow starts to read DAG files."""

from __future__ import annotations

import logging
import sys

import pytest

from airflow_provider_phlo.extensions import states
from airflow_provider_phlo.plugins import judged
from airflow_provider_phlo.plugins.phlo import PhloPlugin
from tests import plugins


class Job:
    """What Airflow calls listeners with."""


@pytest.fixture
def warnings(monkeypatch, caplog):
    """Return a function that starts a component, and gives what is logged."""

    def start(command, component=None):
        caplog.clear()
        monkeypatch.setattr(sys, "argv", ["airflow", *command.split()])
        with caplog.at_level(logging.WARNING):
            judged.on_starting(component or Job())
        return caplog.messages

    return start


def test_it_listens():
    assert judged in PhloPlugin.listeners


def test_what_cannot_be_used_is_named_once(plugin_site, warnings):
    plugins.install_example(plugin_site)
    plugins.install(plugin_site, "acme", {"phlo.sources": {"broken": "acme:x"}}, "import nothing_here", version="2.0")
    plugins.install(plugin_site, "other", {"phlo.sources": {"new": "other:x"}, "phlo.api": {"2": "other"}})
    found = warnings("dag-processor --verbose")
    assert len(found) == 2
    why = "ModuleNotFoundError in acme.py, line 1: nothing_here"
    assert found[0].startswith(f"phlo: the source 'broken' of acme 2.0 is broken: {why}")
    assert "the source 'new' of other 1.0 is incompatible" in found[1]
    assert all(message.endswith("It is skipped unless a DAG names it.") for message in found)
    assert warnings("scheduler") == warnings("dag-processor", object()) == []


def test_nothing_keeps_airflow_from_starting(plugin_site, warnings, monkeypatch):
    plugins.install_example(plugin_site)

    def fail(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(states, "run_apart", fail)
    assert warnings("dag-processor") == ["phlo: plugins could not be looked at: phlo plugin list shows why"]
