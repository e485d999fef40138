"""Assets as files, and what of two of them differs."""

from __future__ import annotations

import copy
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.superset.assets import Asset, charts_of, read_archive, read_folder, to_archive
from airflow_provider_phlo.serving.superset.comparison import differences
from airflow_provider_phlo.serving.superset.exporting import to_export
from airflow_provider_phlo.serving.superset.importing import (
    State,
    compare,
    on_database,
    passwords_for,
    require_unedited,
)

FOLDER = Path(__file__).parents[4] / "include" / "superset"
FILES = read_folder(FOLDER)
URI = "postgresql+psycopg2://reader@db.example.com:5433/marts"


def of_kind(kind: str) -> list[Asset]:
    return [asset for asset in FILES.values() if asset.kind == kind]


def changed(asset: Asset, **values: Any) -> Asset:
    return Asset(asset.path, {**copy.deepcopy(dict(asset.content)), **values})


def test_everything_that_a_file_refers_to_is_a_file() -> None:
    for chart in of_kind("chart"):
        assert FILES[chart.content["dataset_uuid"]].kind == "dataset"
    for dataset in of_kind("dataset"):
        assert FILES[dataset.content["database_uuid"]].kind == "database"
    drawn = {meta["uuid"] for dashboard in of_kind("dashboard") for meta in charts_of(dashboard)}
    assert drawn == {chart.uuid for chart in of_kind("chart")}


def test_a_chart_uses_what_its_dataset_has() -> None:
    for chart in of_kind("chart"):
        dataset, params = FILES[chart.content["dataset_uuid"]].content, chart.content["params"]
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        columns = {column["column_name"] for column in dataset["columns"]}
        used = [*params.get("metrics", []), *params.get("metrics_b", []), *filter(None, [params.get("metric")])]
        assert set(used) <= metrics, chart.path
        named = [*params.get("all_columns", []), *params.get("groupby", []), *filter(None, [params.get("x_axis")])]
        assert set(named) <= columns, chart.path


def test_datasets_have_every_column_that_models_document() -> None:
    models = {
        model["name"]: [column["name"] for column in model["columns"]]
        for path in FOLDER.parent.glob("dbt/models/*/*.yml")
        for model in yaml.safe_load(path.read_text()).get("models", [])
    }
    for dataset in of_kind("dataset"):
        real = {column["column_name"] for column in dataset.content["columns"] if not column["expression"]}
        assert real >= set(models[dataset.content["table_name"]]), dataset.path


def test_no_password_is_in_a_file() -> None:
    [database] = of_kind("database")
    assert "://marts_reader:XXXXXXXXXX@" in database.content["sqlalchemy_uri"]


def test_an_archive_has_what_the_folder_has() -> None:
    found = read_archive(to_archive(FILES.values()))
    assert found.keys() == FILES.keys()
    assert [each.state for each in compare(FILES, found)] == [State.SAME] * len(FILES)


def test_what_superset_adds_of_its_own_does_not_count() -> None:
    chart = of_kind("chart")[0]
    params = {**chart.content["params"], "datasource": "7__table", "annotation_layers": []}
    assert differences(chart, changed(chart, params=params, query_context="{}", theme_uuid=None)) == []
    dataset = of_kind("dataset")[0]
    assert differences(dataset, changed(dataset, metrics=dataset.content["metrics"][::-1], extra={})) == []


@pytest.mark.parametrize("value", [0, False, "x", [1], {"a": 0}])
def test_a_value_is_a_difference_also_a_false_one(value: Any) -> None:
    chart = of_kind("chart")[0]
    params = {**chart.content["params"], "other": value}
    expected = ["params.other"]
    assert differences(chart, changed(chart, params=params)) == expected
    assert differences(changed(chart, params=params), chart) == expected


def test_a_metric_that_somebody_has_changed_is_named() -> None:
    dataset = next(asset for asset in of_kind("dataset") if asset.name == "mrt_glucose_overview")
    metrics = copy.deepcopy(dataset.content["metrics"])
    metrics[0]["expression"] = "1"
    name = metrics[0]["metric_name"]
    assert differences(dataset, changed(dataset, metrics=metrics)) == [f"metrics.{name}.expression"]


def test_an_edit_is_refused_by_name() -> None:
    chart = of_kind("chart")[0]
    there = {**FILES, chart.uuid: changed(chart, slice_name="Mine")}
    with pytest.raises(
        ConfigurationError, match=rf"1 of these.*chart '{chart.name}' in slice_name.*Nothing was imported"
    ):
        require_unedited(compare(FILES, there))
    require_unedited(compare(FILES, FILES))
    require_unedited(compare(FILES, {}))


def test_the_database_as_superset_reaches_it() -> None:
    moved = on_database(FILES, URI)
    [database] = (asset for asset in moved.values() if asset.kind == "database")
    assert database.content["sqlalchemy_uri"] == "postgresql+psycopg2://reader:XXXXXXXXXX@db.example.com:5433/marts"
    assert passwords_for(moved.values(), "secret", "V") == {database.path: "secret"}
    with pytest.raises(ConfigurationError, match="set V"):
        passwords_for(moved.values(), None, "V")
    assert passwords_for(of_kind("chart"), None, "V") == {}


@pytest.mark.parametrize("uri", ["postgresql://me:secret@db/marts", "db/marts", "postgresql://db/marts", "x", ""])
def test_another_address_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        on_database(FILES, uri)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("charts/a.yaml", "{", "is not a YAML file"),
        ("charts/a.yaml", "[]", "is not an asset"),
        ("charts/a.yaml", "slice_name: x", "no uuid"),
        ("charts/a.yaml", "uuid: x", "no slice_name"),
        ("other/a.yaml", "uuid: x", "no assets"),
    ],
)
def test_a_folder_that_is_not_one(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        read_folder(tmp_path)


def test_two_files_of_one_uuid_are_refused(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "charts" / f"{name}.yaml").write_text("{uuid: x, slice_name: y}")
    with pytest.raises(ConfigurationError, match="same uuid"):
        read_folder(tmp_path)


def test_an_export_writes_what_was_edited_and_keeps_names_and_address() -> None:
    there = {asset.uuid: changed(asset) for asset in on_database(FILES, URI).values()}
    assert to_export(there, FILES, ()) == []
    chart = of_kind("chart")[0]
    there[chart.uuid] = changed(chart, slice_name="Mine", params={**chart.content["params"], "datasource": "7__table"})
    [written] = to_export(there, FILES, ())
    assert (written.path, written.name) == (chart.path, "Mine")
    assert "datasource" not in written.content["params"]


def test_a_new_dashboard_gets_files_with_names_of_their_own() -> None:
    written = to_export(FILES, {}, ["github-activity"])
    paths = [asset.path for asset in written]
    assert len(set(paths)) == len(paths)
    [dashboard] = (asset for asset in written if asset.kind == "dashboard")
    assert dashboard.path.startswith("dashboards/github_activity_")
    assert [meta["chartId"] for meta in charts_of(dashboard)] == list(range(1, len(written) - 3))
    with pytest.raises(ConfigurationError, match="title or slug nothing"):
        to_export(FILES, {}, ["nothing"])
    with pytest.raises(ConfigurationError, match="--dashboard"):
        to_export({}, FILES, ())


def test_what_does_not_unpack_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a ZIP"):
        read_archive(b"<html>")
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    assert read_archive(buffer.getvalue()) == {}
