"""``phlo forget``: a plan, one question, and what is left; the key's value is in no output."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.branches.declared import declare_columns
from tests.lake import create_table

SECRET = "person-4711"


@pytest.fixture
def users(catalog: Catalog) -> Catalog:
    table = create_table(catalog, "raw.users", pa.table({"id": [SECRET, "other"], "mail": ["a", "b"]}))
    declare_columns(catalog, table, ["id"], None)
    return catalog


@pytest.fixture
def phlo(home: Path, users: Catalog, run_phlo: Any) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        code, out, err = run_phlo("forget", "--table", "raw.users", "--only-table", *arguments)
        assert SECRET not in out + err
        return code, out, err

    return run


def ids(catalog: Catalog) -> list[str]:
    found: list[str] = catalog.load_table("raw.users").scan().to_arrow()["id"].to_pylist()
    return found


def states(out: str) -> set[str]:
    rows = json.loads(out)
    assert {"sources", "backups", "what is made from it"} <= {
        each["place"] for each in rows if each["kind"] == "beyond"
    }
    return {each["state"] for each in rows if each["kind"] != "beyond"}


def test_it_shows_and_does_nothing(phlo: Any, users: Catalog) -> None:
    code, out, _ = phlo("--key", SECRET, "--dry-run", "--output", "json")
    assert code == 0
    [table] = [each for each in json.loads(out) if each["kind"] == "table"]
    assert (table["place"], table["state"], table["rows"]) == ("raw.users", "found", 1)
    assert sorted(ids(users)) == ["other", SECRET]


def test_it_asks_nobody_where_nobody_is(phlo: Any, users: Catalog) -> None:
    code, _, err = phlo("--key", SECRET)
    assert code == 2
    assert "--yes" in err
    assert SECRET in ids(users)


def test_it_removes_and_the_second_time_finds_nothing(phlo: Any, users: Catalog) -> None:
    code, out, _ = phlo("--key", SECRET, "--yes", "--output", "json")
    assert (code, states(out)) == (0, {"forgotten"})
    assert ids(users) == ["other"]
    code, out, _ = phlo("--key", SECRET, "--output", "json")
    assert (code, states(out)) == (0, {"free"})


def test_the_key_comes_from_the_standard_input(phlo: Any, users: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"id={SECRET}\n\n"))
    assert phlo("--key", "-", "--yes")[0] == 0
    assert ids(users) == ["other"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", ["other"]), ("\n", ["other", SECRET])])
def test_people_are_asked(
    phlo: Any, users: Catalog, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[str]
) -> None:
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert phlo("--key", SECRET)[0] == (0 if len(left) == 1 else 2)
    assert sorted(ids(users)) == left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", ""], "--key is empty"),
        (["--key", "mail=x", "--key", "mail=y"], "twice"),
        (["--key", "mail=x", "--key", SECRET], "column=value"),
    ],
)
def test_what_is_not_a_key_is_refused(phlo: Any, arguments: list[str], message: str) -> None:
    code, _, err = phlo(*arguments)
    assert (code, message in err) == (2, True)
