"""The check of plain English finds what it should, where it is, and leaves plain English alone."""

from __future__ import annotations

import pytest

from tests.wording import RULES, check, stumbles


def found(text: str) -> list[str]:
    return [phrase for _, phrase, _ in stumbles([(1, word) for word in text.split()])]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example)
def test_every_rule_finds_its_example(rule):
    assert [seen for _, _, seen in stumbles([(1, word) for word in rule.example.split()])] == [rule]
    assert found(rule.better) == []


@pytest.mark.parametrize(
    "text",
    [
        "there is no record, and where there are none nothing happens",
        "it is no longer read, and is no more than a hint; is no one there?",
        "bounds tell the two files apart",
        "files, some of which have no rows, each of which is read once",
        "a run that has not published, and a table that has not been read",
        "one row per key, ten requests a second",
        "it returns None where the value is None",
    ],
)
def test_plain_english_passes(text):
    assert found(text) == []


def places(tmp_path, name: str, text: str) -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    return [place.removeprefix(f"{tmp_path}/").partition('"')[0].strip() for place in check(path)]


def test_comments_docstrings_messages_and_test_names_are_read(tmp_path):
    text = '''"""Keep one row
a key."""
# what is
# no record
def test_what_is_no_record(): ...
def told(): return f"{told} is no record, {told}"
def other(is_no_record, is_no): return is_no
'''
    assert places(tmp_path, "module.py", text) == ["module.py:1:", "module.py:3:", "module.py:5:", "module.py:6:"]


def test_of_pages_all_but_code_is_read(tmp_path):
    text = "One row a\nkey.\n\n```sql\n-- one row a key\n```\n\n| `told` | is `no record` | is no record |\n"
    assert places(tmp_path, "page.md", text) == ["page.md:1:", "page.md:8:"]


def test_of_sql_only_comments_are_read(tmp_path):
    assert places(tmp_path, "model.sql", "-- one row a key\n{% if day is none %} select 1 -- told") == ["model.sql:1:"]


def test_what_was_released_is_left_as_it_was(tmp_path):
    text = "# Changelog\n\n## Unreleased\n\n- One row a key.\n\n## 0.1.0\n\n- What is no record.\n"
    assert places(tmp_path, "CHANGELOG.md", text) == ["CHANGELOG.md:5:"]
