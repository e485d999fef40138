"""Seeds: every line of the file as dbt reads it, or a refusal that names file and line and no value."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("seed files")

# what DuckDB would take for quotes, escapes, comments, other delimiters, titles or the end of a line
READ = {
    "single_quotes": "a,b\n'x',y\n'z',w\n",
    "one_single_quote": "a,b\n\"p, q\",y\n'z',w\n",
    "doubled_quotes": 'a,b\n"say ""hi""",w\n',
    "inches": 'a,b\n5" pipe,x\n',
    "backslashes": "a,b\nx\\\\y,z\\n\n",
    "comments": "a,b\n#ff0000,red\n--x,y\n//z,w\n",
    "a_late_comment": "a,b\n" + "x,y\n" * 3000 + "#1,z\n",
    "semicolons": "a,b\nx;1,y;2\n",
    "tabs": "a,b\nx\t1,y\t\n",
    "two_lines": 'a,b\n"two\nlines",w\n',
    "windows": "a,b\r\nx,y\r\n",
    "old_mac": "a,b\rx,y\rz,w\r",
    "blank_lines": "a,b\nx,y\n\nz,w\n\n",
    "spaces": "a,b\n  x , y \n",
    "words_for_null": "a,b\nNULL,null\nNA,\\N\n",
    "nothing": 'a,b\n"",x\n,y\n,\n',
    "the_header_again": "a,b\na,b\nx,y\n",
    "a_title": "a,b\nReport,\n,\nx,y\n",
    "dates": "a,b\n2024-01-15,01/02/2024\n",
    "a_large_value": "a,b\n" + "x,y\n" * 3000 + "q," + "w" * 100_000 + "\n",
    "it's_odd": "a,b\nx,y\n",
}
REFUSED = {
    "ragged": ("a,b\nsecret,y\nsecret\n", "as many values as there are columns, in line 3 of the file"),
    "spaces_only": ("a,b\nsecret,y\n   \n", "as many values as there are columns, in line 3 of the file"),
    "an_open_quote": ('a,b\nsecret,"x\nz,w\n', "a quote is not closed, or text follows one, in line 2 of the file"),
    "text_after_a_quote": ('a,b\n"secret"x,y\n', "a quote is not closed, or text follows one, in line 2 of the file"),
    "a_day_or_a_month": ("d\n01/02/2024\n", "a value cannot be converted to DATE, in line 2 of the file"),
    "no_number": ("n\n1\nsecret\n", "a value cannot be converted to INTEGER, in line 3 of the file"),
    "a_value_too_large": ("a,b\nsecret," + "w" * 200_000, "has a value of over 131,072 characters"),
    "empty": ("", "seeds/empty.csv is empty: a seed's first line has the names of its columns"),
    "two_cases": ("id,ID\n1,secret\n", "makes something whose name is taken"),
}
FILES = {
    "dbt_project.yml": "name: s\nprofile: s\nseeds: {+column_types: {a: varchar, b: varchar, d: date, n: integer}}\n",
    **{f"seeds/{name}.csv": text for name, text in READ.items()},
    **{f"seeds/{name}.csv": text for name, (text, _) in REFUSED.items()},
}


@pytest.fixture(scope="module")
def lake_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def build(project: Path, home: Path, name: str) -> str:
    return build_model(project, f"seed.s.{name}", home=home, environment={"PHLO_RUN_TOKEN": "one"}).table


@pytest.mark.parametrize("name", READ)
def test_a_seed_is_read_as_dbt_reads_it(project: Path, lake_home: Path, name: str) -> None:
    rows = open_lake(lake_home).load_table(build(project, lake_home, name)).scan().to_arrow().to_pylist()
    lines = [line for line in csv.reader(io.StringIO(READ[name], newline="")) if line][1:]
    assert rows == [{"a": first or None, "b": second or None} for first, second in lines]


@pytest.mark.parametrize("name", REFUSED)
def test_a_line_that_cannot_be_read_is_named_without_its_values(project: Path, lake_home: Path, name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build(project, lake_home, name)
    assert REFUSED[name][1] in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not open_lake(lake_home).table_exists(f"s.{name}")
