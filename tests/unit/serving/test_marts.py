"""What models declare of the API, and what of it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_phlo.dbt.compilation import CompiledSql
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.lineage.dbt_project import DbtProject
from airflow_provider_phlo.serving.columns import KnownColumns, known_columns
from airflow_provider_phlo.serving.marts import Served, names_of, read_served
from airflow_provider_phlo.serving.postgrest.script import views_sql
from airflow_provider_phlo.serving.postgrest.statements import Target
from tests.unit.serving.models import manifest, model, relationship


def read(*nodes: Any, models: Any = ("*",), **columns: Any) -> Served:
    return read_served([manifest(*nodes)], models, columns.get("columns"))


def names(served: Served) -> list[str]:
    return [mart.name for mart in served.marts]


def test_names() -> None:
    served = read(
        model("mrt_glucose_overview"),
        model("mrt_glucose_hourly_patterns", meta={"api_name": "hourly_patterns"}),
        model("stg_orders"),
        models=["mrt_*"],
    )
    assert names(served) == ["glucose_overview", "hourly_patterns"]
    assert [mart.table for mart in served.marts] == ["mrt_glucose_overview", "mrt_glucose_hourly_patterns"]


def test_where_meta_may_stand() -> None:
    old = model("mrt_a", meta={"api_name": "b"})
    for place in ({**old, "config": {}}, {**old, "meta": {}}):
        assert names(read(place)) == ["b"]


def test_the_latest_version_has_the_plain_name() -> None:
    versions = [model("mrt_a", version=number, latest_version=2, meta={"api_name": "a"}) for number in (1, 2, 3)]
    served = read(*versions)
    assert [(mart.name, mart.table) for mart in served.marts] == [
        ("a", "mrt_a_v2"),
        ("a_v1", "mrt_a_v1"),
        ("a_v3", "mrt_a_v3"),
    ]
    assert names_of([manifest(*versions)])["model.shop.mrt_a.v1"] == "a_v1"


def test_an_alias_is_the_table() -> None:
    assert read(model("mrt_a", alias="b")).marts[0].table == "b"


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([model("mrt_a"), model("a")], r"model\.shop\.\w+ and model\.shop\.\w+ would both be a in the API"),
        ([model("mrt_a", alias="t"), model("mrt_b", alias="t")], "published as the same table, t"),
        ([model("mrt_" + "名" * 22)], "of 66 bytes: PostgreSQL truncates names after 63"),
        ([model("mrt_")], "no names that are empty"),
        ([model("mrt_a", meta={"api_name": 1})], r"meta\.api_name is not text"),
        ([model("mrt_a", meta={"api_nam": "x"})], r"meta has no api_nam; there is api_name, api_policy, api_roles"),
        ([model("mrt_a", meta={"API-Policy": "x"})], r"mrt_a: meta has no API-Policy"),
        ([model("mrt_a", {"x": {"meta": {"api_role": ["b"]}}})], r"mrt_a\.x: meta has no api_role; there is api_roles"),
        ([model("mrt_a", {"x": {"config": {"meta": {"api_policy": "true"}}}})], r"mrt_a\.x: meta has no api_policy"),
        ([model("mrt_a", {"x": {"meta": {"Api_roles": []}}})], r"mrt_a\.x: meta has no Api_roles"),
        ([model("mrt_a", config={"materialized": "ephemeral"})], "is ephemeral"),
        ([model("mrt_a", meta={"api_roles": ["authenticator"]})], "names authenticator, as which no request can come"),
        ([model("mrt_a", meta={"api_roles": ["pg_read_all_data"]})], "names pg_read_all_data"),
        ([model("mrt_a", meta={"api_roles": "Public"})], "names Public"),
        ([model("mrt_a", meta={"api_roles": {"a": 1}})], r"is not a list of roles: write \[api_user\]"),
        ([model("mrt_a", meta={"api_policy": {"api_anon": "true"}})], "it differs in api_anon, api_user"),
        ([model("mrt_a", meta={"api_policy": "true); DROP TABLE x; --"})], r"\) at character 5 closes nothing"),
        ([model("mrt_a", {"x": {"meta": {"pii": True}}})], "all of its columns are pii"),
        ([model("mrt_a", {"x": {"meta": {"api_roles": ["boss"]}}})], "names boss, who cannot read the model"),
        ([model("mrt_a", {"x": {"description": "a\0b"}})], r"U\+0000"),
    ],
)
def test_what_is_refused(nodes: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read(*nodes)


def test_a_pattern_that_nothing_matches() -> None:
    with pytest.raises(ConfigurationError, match=r"No model is called b\* or nothing"):
        read(model("mrt_a"), models=["mrt_*", "nothing", "b*"])


def test_all_columns_of_the_sql_but_personal_ones() -> None:
    mart = model("mrt_a", {"b": {"description": " What\nit is. "}, "email": {"config": {"tags": ["pii"]}}})
    (served,) = read(mart, columns={mart["unique_id"]: KnownColumns(("a", "b", "email"))}).marts
    assert [(column.name, column.comment) for column in served.columns] == [("a", ""), ("b", "What\nit is.")]
    assert served.left_out == ("email",)
    with pytest.raises(ConfigurationError, match=r"columns that its SQL does not have: email. Its SQL has a, b"):
        read(mart, columns={mart["unique_id"]: KnownColumns(("a", "b"))})


def test_copies_of_personal_columns_are_personal_unless_the_model_says_otherwise() -> None:
    mart = model("mrt_a", {"id": {}, "contact": {}, "phone": {"config": {"meta": {"pii": False}}}})
    copies = {"contact": "raw.users.email", "phone": "raw.users.phone"}
    (served,) = read(mart, columns={mart["unique_id"]: KnownColumns(("id", "contact", "phone"), copies)}).marts
    assert [column.name for column in served.columns] == ["id", "phone"]
    assert (served.left_out, served.copies) == (("contact",), {"contact": "raw.users.email"})
    text = views_sql(Served((served,), ()), Target(), "phlo")
    assert "-- Not served, since they are pii: contact (a copy of raw.users.email)\n" in text


def test_what_is_computed_from_personal_columns_is_named_until_the_model_says_what_it_is() -> None:
    said = {"hash": {}, "domain": {"meta": {"pii": False}}, "name": {"meta": {"pii": True, "api_roles": ["api_user"]}}}
    mart = model("mrt_a", {"id": {}, **said})
    known = KnownColumns(("id", *said), {}, dict.fromkeys(said, "raw.users.email"))
    (served,) = read(mart, columns={mart["unique_id"]: known}).marts
    assert served.computed == {"hash": "raw.users.email"}
    text = views_sql(Served((served,), ()), Target(), "phlo")
    assert "-- Served, and computed from what is pii: hash (of raw.users.email)\n" in text


def test_who_is_built_on_a_model_with_a_row_policy_is_named_until_it_says_which_rows_are_seen() -> None:
    def built_on(name: str, *parents: dict[str, Any], **meta: Any) -> dict[str, Any]:
        depends_on = {"nodes": [parent["unique_id"] for parent in parents], "macros": []}
        return model(name, meta=meta, depends_on=depends_on)

    orders = built_on("mrt_orders", api_policy="tenant = 1")
    between = built_on("int_orders", orders)
    marts = [
        *(orders, between, built_on("mrt_a", between), built_on("mrt_b", between, api_policy="true")),
        *(built_on("mrt_c", orders, api_policy="tenant = 2"), built_on("mrt_d")),
    ]
    served = read(*marts, models=["mrt_*"])
    assert {mart.name: mart.policed for mart in served.marts if mart.policed} == {"a": ("mrt_orders",)}
    assert "-- All rows are served; it is built on what has a row policy: mrt_orders\n" in views_sql(
        served, Target(), "phlo"
    )


@pytest.mark.parametrize(
    "said", [{"tags": ["PII"]}, {"meta": {"PII": True}}, {"config": {"tags": " Pii"}}, {"meta": {"pii": "yes"}}]
)
def test_personal_columns_in_capitals(tmp_path: Path, said: dict[str, Any]) -> None:
    users = model("stg_users", {"EMAIL": said}, schema="silver")
    mart = model("mrt_a", {}, schema="marts")
    sql = {users["unique_id"]: "select 1 as id, 'x' as email", mart["unique_id"]: "select email from silver.stg_users"}
    project = DbtProject(tmp_path, manifest(users, mart), {name: CompiledSql(text) for name, text in sql.items()})
    assert known_columns([project], tmp_path)[mart["unique_id"]].copies == {"email": "silver.stg_users.email"}


def test_a_personal_column_that_there_is_not(tmp_path: Path) -> None:
    users = model("stg_users", {"emal": {"tags": ["pii"]}}, schema="silver")
    project = DbtProject(tmp_path, manifest(users), {users["unique_id"]: CompiledSql("select 'x' as email")})
    with pytest.raises(ConfigurationError, match="its YAML says that emal is pii, and its SQL has no such column"):
        known_columns([project], tmp_path)


def test_relationships_between_what_is_served() -> None:
    many, one, other = (model(name, {"id": {}, "secret": {"tags": ["pii"]}}) for name in ("mrt_a", "mrt_b", "stg_c"))
    tests = [
        relationship(many, "id", one, "id"),
        relationship(many, "secret", one, "id"),
        relationship(many, "id", other, "id"),
        {**relationship(many, "id", one, "id"), "unique_id": "the same again"},
    ]
    served = read(many, one, other, *tests, models=["mrt_*"])
    columns = [(each.many.name, each.many_column, each.one.name, each.one_column) for each in served.relationships]
    assert columns == [("a", "id", "b", "id")]
    assert not served.relationships[0].unique  # nothing says that b has one row for an id
    quoted = [relationship(many, '"id"', one, '"id"')]
    (found,) = read(many, one, *quoted, models=["mrt_*"]).relationships
    assert (found.many_column, found.one_column) == ("id", "id")
    keyed = {**one, "config": {**one["config"], "meta": {"primary_key": ["id"]}}}
    assert read(many, keyed, *tests, models=["mrt_*"]).relationships[0].unique


def test_columns_and_copies_by_the_sql(tmp_path: Path) -> None:
    users = model("stg_users", {"email": {"tags": ["pii"]}}, schema="silver")
    mart = model("mrt_a", {}, schema="marts")
    rest = model("mrt_rest", {}, schema="marts")
    manifests = manifest(users, mart, rest)
    sql = {
        users["unique_id"]: "select 1 as id, 'x' as email, 'y' as name",
        mart[
            "unique_id"
        ]: "with u as (select * from silver.stg_users) select id, email as contact, md5(email) as hash from u",
        rest["unique_id"]: "select * from raw.unknown",
    }
    project = DbtProject(tmp_path, manifests, {name: CompiledSql(text) for name, text in sql.items()})
    found = known_columns([project], tmp_path)
    email = "silver.stg_users.email"
    assert found[mart["unique_id"]] == KnownColumns(("id", "contact", "hash"), {"contact": email}, {"hash": email})
    assert found[users["unique_id"]].names == ("id", "email", "name")
    assert found[rest["unique_id"]].names is None
