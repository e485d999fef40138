"""The example package in a pipeline, as a DAG names its parts: source, transform, check, publisher."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo import phlo_ingestion, registry
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.publish_plugin import PublishPluginOperator
from airflow_provider_phlo.schemas import PhloSchema
from tests import plugins
from tests.lake import open_lake
from tests.placeholder_site import placeholder_site

DAY = {"conf": {"partition_date": "2025-01-15"}}


class Post(PhloSchema):
    user_id: int
    id: int
    title: str


@pytest.fixture
def home(tmp_path, monkeypatch, plugin_site):
    plugins.install_example(plugin_site)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def server():
    with placeholder_site() as root:
        yield root


def posts(url, max_value=9, **declared):
    audit = [registry.check("threshold_check")(column="user_id", max_value=max_value)]

    @phlo_ingestion("posts", "id", Post, "demo", audit=audit, **declared)
    def posts():
        return registry.source("jsonplaceholder")("posts", base_url=url)

    return posts


def test_a_dag_of_its_parts_publishes(home, server, run_ingestion, make_context):
    results = run_ingestion(posts(server, transforms=("uppercase",)), **DAY)
    assert [check["check_type"] for check in results["audit"]["results"]] == ["custom"]
    assert (results["publish"]["inserted"], results["audit"]["passed"]) == (3, True)
    rows = open_lake(home).load_table("raw.posts").scan().to_arrow()
    assert sorted(rows["title"].to_pylist()) == ["POST 1", "POST 2", "POST 3"]

    publish = PublishPluginOperator(
        task_id="publish", publisher="csv_files", tables={"posts": "posts"}, options={"folder": str(home / "out")}
    )
    found = publish.execute(make_context(publish))
    assert found == {"publisher": "phlo-plugin-example 0.1.0: csv_files", "tables": {"posts": 3}}
    assert len((home / "out" / "posts.csv").read_text().splitlines()) == 4
    assert [mart.source for mart in publish.lineage().marts] == ["raw.posts"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tables": {}}, "publish publishes nothing: name its tables"),
        ({"tables": {"a": "raw.nothing"}}, r"raw\.nothing does not exist"),
        ({"options": {"folder": "/x", "fodler": 1}}, "does not take these options: .*fodler"),
        ({"options": {}}, "does not take these options: missing a required argument: 'folder'"),
        ({"options": {"folder": "here"}}, "here is relative"),
    ],
)
def test_what_cannot_be_published_is_refused_before_anything_is_written(home, make_context, changed, message):
    open_lake(home)
    given = {"tables": {"posts": "raw.posts"}, "options": {"folder": str(home / "out")}, **changed}
    publish = PublishPluginOperator(task_id="publish", publisher="csv_files", **given)
    with pytest.raises(AirflowFailException, match=message):
        publish.execute(make_context(publish))
    assert not (home / "out").exists()


def test_its_check_blocks(home, server, run_ingestion):
    with pytest.raises(AirflowFailException, match="3 of 3 values are above 0"):
        run_ingestion(posts(server, max_value=0), **DAY)


def test_the_check_says_how_many(home):
    found = registry.check("threshold_check")("v", 10, tolerance=0.5).execute(pd.DataFrame({"v": [1, 11, None]}))
    assert (found.passed, found.violations, found.total) == (True, 1, 2)


def test_an_operator_takes_the_name_of_a_source(home, server, make_context):
    ingest = IngestOperator(
        task_id="ingest",
        source="jsonplaceholder",
        source_resources={"base_url": lambda: server},
        table="posts",
        unique_key="id",
    )
    assert ingest.execute(make_context(ingest, **DAY))["staged"] == 3


@pytest.mark.parametrize(
    "declare",
    [
        lambda: posts("", transforms=("upercase",))(),
        lambda: IngestOperator(task_id="a", source="jsonplacholder", table="t", unique_key="id"),
        lambda: PublishPluginOperator(task_id="a", publisher="cvs_files", tables={}),
    ],
)
def test_a_dag_file_that_names_what_is_not_there_does_not_import(home, declare):
    with DAG("a", schedule=None), pytest.raises(ConfigurationError, match=re.compile("There is no .*Did you mean")):
        declare()


def test_a_check_by_its_bare_name_is_explained(home):
    with pytest.raises(ConfigurationError, match=r"registry\.check\('threshold_check'\)\(…\) makes one"):
        phlo_ingestion("posts", "id", Post, "demo", audit=["threshold_check"])(lambda: None)
