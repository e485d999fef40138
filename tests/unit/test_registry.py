"""Plugins by name: found by their packages' metadata, imported when they are named, refused with a reason."""

from __future__ import annotations

import importlib
import logging
import shutil
import signal
import sys
import threading
import time

import pytest

from airflow_provider_phlo import registry
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.installed_plugins import API_VERSIONS, Kind, called, installed_plugins
from tests import plugins
from tests.patience import PATIENCE

GOOD = "def upper(rows):\n    return rows\n"


@pytest.fixture
def site(plugin_site):
    return plugin_site


def refused(kind: Kind, name: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        registry.load(registry.require(kind, name))
    return str(error.value)


def test_the_example_is_found_by_name(site):
    plugins.install_example(site)
    assert registry.check("threshold_check").__module__ == "phlo_example.quality"
    assert registry.transform("uppercase").__name__ == "uppercase"
    assert registry.source("jsonplaceholder").__name__ == "jsonplaceholder"
    assert registry.publisher("csv_files").__name__ == "CsvFiles"
    assert registry.transform("phlo_plugin.example:uppercase") is registry.transform("uppercase")
    assert registry.transform(print) is print


def test_metadata_is_read_as_python_reads_it(site):
    plugins.install_example(site)
    plugins.install(
        site, "Odd.Name", {"phlo.transforms": {"spaced out": " odd : a.b [extra]"}, "phlo.other": {"x": "y"}}
    )
    importlib.invalidate_caches()
    from importlib.metadata import entry_points

    declared = {
        (kind.group, each.name, each.module, each.attr, each.dist.name)
        for kind in Kind
        for each in entry_points(group=kind.group)
    }
    found = {(each.kind.group, each.name, each.module, each.attribute, each.package) for each in installed_plugins()}
    assert found == declared
    assert len(found) == 6


def test_a_package_that_comes_first_hides_one_of_the_same_name(site, tmp_path, monkeypatch):
    plugins.install(site, "acme-phlo", {"phlo.transforms": {"upper": "acme_phlo:upper"}}, GOOD, version="2.0")
    later = tmp_path / "later"
    plugins.install(later, "Acme.Phlo", {"phlo.transforms": {"upper": "x:y", "old": "x:y"}}, version="1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(later), str(tmp_path / "nothing here")])
    assert [(each.name, each.version) for each in installed_plugins() if each.package != "phlo"] == [("upper", "2.0")]


def test_what_is_installed_while_the_program_runs_is_found(site):
    with pytest.raises(ConfigurationError, match="There is no transform 'upper'; installed: none"):
        registry.transform("upper")
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, GOOD)
    assert registry.transform("upper").__module__ == "acme"


def test_a_name_that_does_not_exist_is_answered_with_those_that_do(site):
    plugins.install_example(site)
    assert refused(Kind.TRANSFORM, "upercase").endswith("installed: uppercase. Did you mean uppercase?")
    assert "There is no transform 'other:uppercase'" in refused(Kind.TRANSFORM, "other:uppercase")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_here", "ModuleNotFoundError in acme.py, line 1: nothing_here is not installed"),
        ("def", "SyntaxError in "),
        ("x = 1", "the module acme has no 'upper'"),
        ("upper = 1", "acme:upper is not a function or a class, and a transform is called"),
        ("raise ValueError('a secret')", "ValueError in acme.py, line 1. phlo plugin list"),
        ("raise SystemExit(0)", "its import ends the program"),
        ("import sys\nsys.exit('x')", "its import ends the program"),
    ],
)
def test_one_that_is_broken_is_refused_by_name_and_in_words(site, code, message):
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, code, version="2.1")
    said = refused(Kind.TRANSFORM, "upper")
    assert said.startswith("The transform 'upper' of acme 2.1 cannot be used: ")
    assert message in said
    assert "a secret" not in said
    assert refused(Kind.TRANSFORM, "upper") == said  # and is not imported again


def test_a_reference_that_cannot_be_read_is_refused(site):
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme"}}, GOOD)
    assert "its entry point 'acme' is not written as module:attribute" in refused(Kind.TRANSFORM, "upper")


def test_one_of_another_interface_is_refused_and_skipped_for_one_that_fits(site, caplog):
    group = {"phlo.transforms": {"upper": "acme:upper"}}
    plugins.install(site, "acme", {**group, "phlo.api": {"7": "acme"}}, GOOD)
    assert "written for version 7 of the plugin interface" in refused(Kind.TRANSFORM, "upper")
    plugins.install(site, "other", {"phlo.transforms": {"upper": "other:upper"}, "phlo.api": {"1": "other"}}, GOOD)
    with caplog.at_level(logging.WARNING):
        assert [registry.transform("upper").__module__ for _ in range(3)] == ["other"] * 3
    (warning,) = caplog.messages
    assert warning.startswith("The transform 'upper' of acme 1.0 is skipped")
    plugins.install(
        site, "both", {"phlo.sources": {"c": "acme:upper"}, "phlo.api": {"7": "acme", API_VERSIONS[0]: "acme"}}
    )
    assert callable(registry.source("c"))


class OutOfBand(BaseException):
    """As pytest's Skipped is, and Airflow's time limit."""


def test_what_is_no_exception_is_a_reason_too_unless_it_is_airflows_or_a_persons(site, monkeypatch):
    code = "class Stop(BaseException): pass\nraise Stop('now')"
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, code)
    assert "cannot be used: Stop in acme.py, line 2. " in refused(Kind.TRANSFORM, "upper")
    monkeypatch.setattr(OutOfBand, "__module__", "airflow.sdk.exceptions")
    for number, raised in enumerate((KeyboardInterrupt, OutOfBand)):
        monkeypatch.setattr(registry, "resolve", lambda plugin, raised=raised: (_ for _ in ()).throw(raised()))
        plugins.install(site, f"other{number}", {"phlo.transforms": {f"x{number}": f"other{number}:x"}}, GOOD)
        with pytest.raises(raised):
            registry.transform(f"x{number}")


def test_what_is_not_what_its_kind_is_is_refused_where_it_is_used(site):
    code = "def f(): pass\nclass P: pass\nclass G: name = help = 'g'; commands = None"
    group = {"phlo.checks": {"c": "acme:f"}, "phlo.publishers": {"p": "acme:P"}, "phlo.commands": {"g": "acme:G"}}
    plugins.install(site, "acme", group, code)
    assert "acme:f is not a class made of" in refused(Kind.CHECK, "c")
    assert "acme:P has no method publish" in refused(Kind.PUBLISHER, "p")
    (commands,) = called("g", installed_plugins())
    with pytest.raises(ConfigurationError, match="acme:G is not a Group of Commands"):
        registry.load(commands)


def test_what_an_interrupted_pip_leaves_does_not_count(site):
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, GOOD)
    (left,) = site.glob("acme-*.dist-info")
    shutil.copytree(left, site / f"~{left.name[1:]}")
    assert registry.transform("upper").__module__ == "acme"


def test_a_package_with_damaged_metadata_is_named_by_its_folder(site):
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, GOOD)
    (folder,) = site.glob("acme-*.dist-info")
    (folder / "METADATA").write_text("")
    (plugin,) = called("upper", installed_plugins())
    assert plugin.package == folder.name


def test_two_of_one_name_are_told_apart_by_package(site):
    for package in ("acme", "other"):
        plugins.install(site, package, {"phlo.transforms": {"upper": f"{package}:upper"}}, GOOD)
    assert refused(Kind.TRANSFORM, "upper") == (
        "The transform 'upper' is in several packages, acme 1.0 and other 1.0: uninstall one, or name 'acme:upper'."
    )
    assert registry.transform("other:upper").__module__ == "other"


def test_a_name_with_a_colon_is_a_name(site):
    plugins.install(site, "acme", {"phlo.transforms": {"a:b": "acme:upper"}}, GOOD)
    assert registry.transform("a:b") is registry.transform("acme:a:b")


def test_a_slow_import_is_warned_of_once_and_used(site, caplog, monkeypatch):
    monkeypatch.setattr(registry, "SLOW_SECONDS", 0.05)
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, f"import time\ntime.sleep(.1)\n{GOOD}")
    with caplog.at_level(logging.WARNING):
        assert registry.transform("upper") is registry.transform("upper")
    (warning,) = caplog.messages
    assert "The transform 'upper' of acme 1.0 took 0." in warning


def test_an_import_that_never_ends_is_ended(site, monkeypatch):
    monkeypatch.setattr(registry, "LIMIT_SECONDS", 0.1)
    code = """
        import time
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass
    """
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, code)
    handler = signal.getsignal(signal.SIGALRM)
    for _ in range(2):  # a busy machine may have more time later: another process tries again
        with pytest.raises(TransientError, match="its import had not ended after 0 s"):
            registry.transform("upper")
    assert signal.getsignal(signal.SIGALRM) is handler


def test_the_alarm_of_somebody_else_stays():
    """Airflow ends a DAG file that takes too long by the same means."""
    rung = []
    left = signal.getitimer(signal.ITIMER_REAL)[0]  # pytest-timeout's
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with registry.import_limit(5):  # it comes before: left alone
            _wait_for(rung)
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        with registry.import_limit(0.3):
            pass
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.4
        rung.clear()
        _wait_for(rung)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left)


def test_a_thread_imports_without_an_alarm(site):
    plugins.install(site, "acme", {"phlo.transforms": {"upper": "acme:upper"}}, GOOD)
    found = []
    thread = threading.Thread(target=lambda: found.append(registry.transform("upper")))
    thread.start()
    thread.join()
    assert found[0].__module__ == "acme"


def test_names_cannot_control_a_terminal(site):
    plugins.install(
        site,
        "acme",
        {"phlo.transforms": {"up\x1b[31mper\x07": "acme:upper"}},
        GOOD,
        version="1.0",
        about="\x1b]0;owned\x07 \u202egnp",
    )
    (found,) = (each for each in installed_plugins() if each.package == "acme")
    assert f"{found} {found.about}".isprintable()
    assert refused(Kind.TRANSFORM, "no\x1b[2J").isprintable()


def _wait_for(rung):
    until = time.monotonic() + PATIENCE
    while not rung and time.monotonic() < until:
        time.sleep(0.01)
    assert rung
