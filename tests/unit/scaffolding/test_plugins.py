"""``phlo plugin new``: a package of each kind, whose tests pass, and which keeps what its kind promises."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from airflow_provider_phlo.extensions.trials import try_here
from airflow_provider_phlo.installed_plugins import Kind, installed_plugins
from airflow_provider_phlo.scaffolding.contents import template_files
from airflow_provider_phlo.scaffolding.plugins import write_plugin
from tests import plugins


def test_every_kind_works_as_it_is_written(tmp_path, plugin_site):
    for kind in Kind:
        new, files = write_plugin(tmp_path / f"phlo-some-{kind}", kind)
        assert (new.command, new.module) == (
            f"some_{kind}" if kind is not Kind.COMMANDS else "some-commands",
            f"phlo_some_{kind}",
        )
        texts = [(tmp_path / f"phlo-some-{kind}" / path).read_text() for path in files]
        assert not [word for text in texts for word in ("plugin_", "plugin-", "PluginClass") if word in text]
        project = tomllib.loads((tmp_path / new.package / "pyproject.toml").read_text())["project"]
        plugins.install(plugin_site, new.package, project["entry-points"], version=project["version"])
        (plugin_site / new.module).symlink_to(tmp_path / new.package / new.module)
    found = installed_plugins()
    assert {plugin.kind for plugin in found} == set(Kind)
    trials = [trial for plugin in found for trial in try_here(plugin, arguments=None)["trials"]]
    assert [trial for trial in trials if trial["verdict"] != "ok"] == []
    # their own tests, in one process
    folders = map(str, tmp_path.glob("phlo-*"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", *folders],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(plugin_site)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_what_is_there_stays(tmp_path, run_phlo):
    folder = tmp_path / "phlo-prices"
    folder.mkdir()
    assert run_phlo("plugin", "new", str(folder), "--kind", "check")[0] == 0  # it was empty
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = run_phlo("plugin", "new", str(folder), "--kind", "source")
    assert (code, out) == (2, "")
    assert "phlo-prices is there already. Nothing was written" in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (tmp_path / "phlo-link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "phlo-file").write_text("mine")
    for name in ("phlo-link", "phlo-file"):
        assert run_phlo("plugin", "new", str(tmp_path / name), "--kind", "source")[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phlo-file", "phlo-link", "phlo-prices"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a b", "cannot be the name of a package"),
        ("1st", "cannot be the name of a package"),
        ("-", "cannot be the name of a package"),
        ("preise-für", "cannot be the name of a package"),
        ("import", "Python here has a module or word import already"),
        ("json", "Python here has a module or word json already"),
        ("PyArrow", "Python here has a module or word pyarrow already"),
        ("tests", "Python here has a module or word tests already"),
        ("phlo-query", "phlo query is a command of phlo itself"),
    ],
)
def test_names_that_cannot_be(tmp_path, run_phlo, name, message):
    code, out, err = run_phlo("plugin", "new", "--kind", "commands", "--", str(tmp_path / name))
    assert (code, out, message in err) == (2, "", True)
    assert list(tmp_path.iterdir()) == []


def test_names_are_made_of_the_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {
        name: write_plugin(tmp_path / name, Kind.CHECK)[0].name
        for name in ("phlo-plugin-acme", "Acme.Prices", "phlo-2things", "phlo-class", "phlo-plugin")
    }
    assert found == {
        "phlo-plugin-acme": "acme",
        "Acme.Prices": "acme_prices",
        "phlo-2things": "phlo_2things",
        "phlo-class": "phlo_class",
        "phlo-plugin": "plugin",
    }


def test_every_file_of_the_templates_is_used():
    assert {kind for kind in Kind if template_files(f"plugin/{kind}")} == set(Kind)
