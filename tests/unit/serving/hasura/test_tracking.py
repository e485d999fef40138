"""Metadata of what is served, in a server that speaks Hasura's protocol."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, ServerUnavailableError
from airflow_provider_phlo.serving.hasura.merging import Difference, Scope
from airflow_provider_phlo.serving.hasura.metadata import OURS, Metadata, hasura_metadata, metadata_yaml
from airflow_provider_phlo.serving.hasura.server import HasuraServer
from airflow_provider_phlo.serving.hasura.tracking import compare, track
from airflow_provider_phlo.serving.marts import read_served
from tests.hasura_server import Hasura, Running, hang, say, wrong_parts
from tests.unit.serving.models import manifest, model, relationship

SCOPE = Scope("api")
CLAIM = "owner = current_setting('request.jwt.claims', true)::json ->> 'sub'"
ORDERS = {
    "id": {"description": "The order's number."},
    "owner": {},
    "email": {"tags": ["pii"]},
    "phone": {"meta": {"pii": True, "api_roles": ["support"]}},
}
META = {"api_roles": ["api_user", "support"], "api_policy": {"api_user": CLAIM, "support": "true"}}


def metadata(*nodes: Any) -> Metadata:
    return hasura_metadata(read_served([manifest(*nodes)], ["*"]), "api")


def shop(columns: Any = ORDERS, **orders: Any) -> Metadata:
    many = model("mrt_orders", columns, **{"meta": META, "description": "One row per order.", **orders})
    one = model("mrt_customers", {"name": {}, "city": {}}, meta={"key": ["name"]})
    return metadata(many, one, relationship(many, "owner", one, "name"))


@pytest.fixture
def hasura() -> Hasura:
    return Hasura({"api.orders": {"id", "owner", "phone"}, "api.customers": {"name", "city"}, "public.t": {"a"}})


@pytest.fixture
def server(hasura: Hasura) -> Iterator[HasuraServer]:
    running = Running(hasura)
    yield HasuraServer(running.url, "geheim", patience=5, sleep=lambda _: None)
    running.stop()


def test_what_roles_may_select(server: HasuraServer, hasura: Hasura) -> None:
    track(server, shop(), SCOPE)
    (source,) = hasura.metadata["sources"]
    customers, orders = source["tables"]
    assert orders["select_permissions"] == [
        {
            "role": "api_user",
            "permission": {"columns": ["id", "owner"], "filter": {"owner": {"_eq": "X-Hasura-Sub"}}},
            "comment": OURS,
        },
        {"role": "support", "permission": {"columns": ["id", "owner", "phone"], "filter": {}}, "comment": OURS},
    ]
    assert "email" not in json.dumps(hasura.metadata)
    assert orders["configuration"]["comment"] == "One row per order."
    assert orders["configuration"]["column_config"]["id"] == {"comment": "The order's number."}
    (single,), (many,) = orders["object_relationships"], customers["array_relationships"]
    assert (single["name"], single["using"]["manual_configuration"]["column_mapping"]) == (
        "customers",
        {"owner": "name"},
    )
    assert (many["name"], many["using"]["manual_configuration"]["column_mapping"]) == ("orders", {"name": "owner"})
    assert source["configuration"]["connection_info"]["database_url"] == {"from_env": "PG_DATABASE_URL"}


def test_nothing_is_sent_the_second_time(server: HasuraServer, hasura: Hasura) -> None:
    assert track(server, shop(), SCOPE).differences
    sent = len(hasura.requests)
    assert track(server, shop(), SCOPE).differences == ()
    assert compare(server, shop(), SCOPE).differences == ()
    assert [each["type"] for each in hasura.requests[sent:]] == ["export_metadata"] * 2


def test_what_others_have_made_stays(server: HasuraServer, hasura: Hasura) -> None:
    theirs = {
        "version": 3,
        "sources": [
            {
                "name": "default",
                "kind": "postgres",
                "tables": [
                    {"table": {"schema": "public", "name": "t"}, "event_triggers": []},
                    {
                        "table": {"schema": "api", "name": "orders"},
                        "select_permissions": [{"role": "boss", "permission": {"columns": ["id"], "filter": {}}}],
                        "configuration": {"custom_root_fields": {"select": "all_orders"}},
                    },
                ],
                "functions": [{"function": "f"}],
                "configuration": {"connection_info": {"database_url": {"from_env": "THEIRS"}}},
            },
            {"name": "other", "kind": "postgres", "tables": []},
        ],
        "actions": [{"name": "a"}],
        "remote_schemas": [{"name": "r"}],
    }
    hasura.metadata = deepcopy(theirs)
    track(server, shop(), SCOPE)
    after = hasura.metadata
    assert (after["actions"], after["remote_schemas"]) == (theirs["actions"], theirs["remote_schemas"])
    assert after["sources"][1] == theirs["sources"][1]
    source, before = after["sources"][0], theirs["sources"][0]
    assert (source["functions"], source["configuration"]) == (before["functions"], before["configuration"])
    assert source["tables"][0] == before["tables"][0]
    roles = [each["role"] for each in source["tables"][1]["select_permissions"]]
    assert roles == ["boss", "api_user", "support"]


def test_what_was_permitted_before_is_taken_back(server: HasuraServer, hasura: Hasura) -> None:
    track(server, shop(), SCOPE)
    merged = track(server, shop({"id": {}, "owner": {}}, meta={"api_policy": "id > 1"}), SCOPE)
    assert merged.differences == (
        Difference("api.orders", "names and comments", "change"),
        Difference("api.orders", "select permission of api_user", "change"),
        Difference("api.orders", "select permission of support", "remove"),
    )
    # a view that no model is served as any more keeps them until that is asked for: it may be another project's
    customers = metadata(model("mrt_customers", {"name": {}, "city": {}}))
    merged = track(server, customers, SCOPE)
    assert merged.notes == (
        "api.orders is tracked with what was made here, and no model is served as that: --prune takes it away.",
    )
    assert {each.table for each in merged.differences} == {"api.customers"}
    merged = track(server, customers, Scope("api", prune=True))
    assert merged.notes == ("api.orders is tracked, and no model is served as that: what others permit on it stays.",)
    (orders,) = [each for each in hasura.metadata["sources"][0]["tables"] if each["table"]["name"] == "orders"]
    assert "select_permissions" not in orders


def test_views_that_were_not_chosen_keep_what_they_have(server: HasuraServer, hasura: Hasura) -> None:
    track(server, shop(), SCOPE)
    before = deepcopy(hasura.metadata)
    chosen = metadata(model("mrt_customers", {"name": {}, "city": {}}, meta={"key": ["name"]}))
    merged = track(server, chosen, Scope("api", {"orders"}, prune=True))
    assert (merged.differences, merged.notes, hasura.metadata) == ((), (), before)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (
            {"select_permissions": [{"role": "api_user", "permission": {"columns": "*", "filter": {}}}]},
            "api.orders has a select permission of api_user that was not made by this command",
        ),
        (
            {"object_relationships": [{"name": "customers", "using": {"foreign_key_constraint_on": "x"}}]},
            "api.orders has a relationship customers that was not made by this command",
        ),
    ],
)
def test_what_contradicts_the_models_is_named(
    server: HasuraServer, hasura: Hasura, table: dict[str, Any], reason: str
) -> None:
    entry = {"table": {"schema": "api", "name": "orders"}, **table}
    hasura.metadata = {"version": 3, "sources": [{"name": "default", "kind": "postgres", "tables": [entry]}]}
    before = deepcopy(hasura.metadata)
    with pytest.raises(ConfigurationError, match=reason):
        track(server, shop(), SCOPE)
    assert hasura.metadata == before
    # the same in other words does not contradict them
    same = {
        "role": "api_user",
        "permission": {"columns": ["owner", "id"], "filter": {"owner": {"_eq": "X-Hasura-Sub"}}},
    }
    entry |= {"select_permissions": [same], "object_relationships": []}
    hasura.metadata["sources"][0]["tables"] = [deepcopy(entry)]
    track(server, shop(), SCOPE)
    assert hasura.metadata["sources"][0]["tables"][0]["select_permissions"][0] == same


def test_somebody_was_faster(server: HasuraServer, hasura: Hasura) -> None:
    def other() -> None:
        hasura.metadata["actions"] = [{"name": "a"}]
        hasura.version += 1

    hasura.next = [lambda: None, other]
    track(server, shop(), SCOPE)
    assert hasura.metadata["actions"] == [{"name": "a"}]
    assert len(hasura.metadata["sources"][0]["tables"]) == 2
    hasura.metadata = {"version": 3, "sources": []}
    hasura.next = [lambda: None, other] * 10
    with pytest.raises(CommitConflictError, match="somebody has changed the metadata meanwhile"):
        track(server, shop(), SCOPE)


def test_an_answer_that_is_lost(server: HasuraServer, hasura: Hasura) -> None:
    """The change was made: what is sent again is refused as a conflict, and there is nothing left to do."""

    def done_and_lost() -> tuple[int, dict[str, str], Any]:
        hasura.next = []
        assert hasura.answer("geheim", hasura.requests.pop())[0] == 200
        return 504, {}, "gateway timeout"

    hasura.next = [lambda: None, done_and_lost]
    track(server, shop(), SCOPE)
    assert len(hasura.metadata["sources"][0]["tables"]) == 2
    assert hasura.version == 2


@pytest.mark.parametrize(
    "answers",
    [
        [say(500, {"error": "x", "code": "unexpected"})],
        [say(503, "<html>busy</html>"), say(502, "")],
        [say(429, "slow down", Retry_After="3"), say(408)],
        [say(504, "")],
    ],
)
def test_what_passes_is_tried_again(server: HasuraServer, hasura: Hasura, answers: list[Any]) -> None:
    paused: list[float] = []
    server.sleep = paused.append
    hasura.next = list(answers)
    track(server, shop(), SCOPE)
    assert len(paused) == len(answers)
    assert len(hasura.metadata["sources"][0]["tables"]) == 2


def test_a_server_that_stays_busy(server: HasuraServer, hasura: Hasura) -> None:
    hasura.next = [say(503, "") for _ in range(9)]
    with pytest.raises(ServerUnavailableError, match="answered 503, after 5 attempts"):
        track(server, shop(), SCOPE)
    hasura.next = [say(429, "", Retry_After="3600")]
    with pytest.raises(ServerUnavailableError, match=r"answered 429, after 1 attempts\. It asks to wait 3600 s"):
        track(server, shop(), SCOPE)


def test_a_server_that_does_not_answer(hasura: Hasura) -> None:
    running = Running(hasura)
    server = HasuraServer(running.url, "geheim", patience=0.1, sleep=lambda _: None)
    try:
        hasura.next = [hang(0.5)]
        track(server, shop(), SCOPE)
        assert len(hasura.metadata["sources"][0]["tables"]) == 2
    finally:
        running.stop()
    with pytest.raises(ServerUnavailableError, match="does not answer POST /v1/metadata"):
        track(server, shop(), SCOPE)


def test_the_secret(server: HasuraServer, hasura: Hasura, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = HasuraServer(server.url, "falsch-geheim", "the connection hasura_default")
    hasura.next = [say(401, {"error": "no: falsch-geheim", "code": "access-denied"})]
    with pytest.raises(
        ConfigurationError, match=r"does not accept the admin secret \(401: no: \*\*\*\).*hasura_default"
    ):
        track(wrong, shop(), SCOPE)
    with pytest.raises(ConfigurationError, match="does not accept the admin secret"):
        track(wrong, shop(), SCOPE)
    assert "geheim" not in caplog.text + repr(wrong)
    for url in ("http://hasura.example.com", "https://u:p@h", "ftp://h", "hasura", "http://a:1\\@b:2/"):
        with pytest.raises(ConfigurationError, match="HASURA_GRAPHQL_ENDPOINT"):
            HasuraServer(url, "x")
    with pytest.raises(ConfigurationError, match="no header can carry"):
        HasuraServer("https://h", "a\nb")
    for url in ("https://hasura.example.com/v1/graphql", "http://hasura:8080", "http://127.0.0.1:8080/"):
        HasuraServer(url, "x")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (say(404, "not found"), "answered 404 to export_metadata, and nothing that Hasura says"),
        (say(200, [1]), "answers as no Hasura of version 2 or later"),
        (say(200, {"metadata": {"version": 2}, "resource_version": 1}), "metadata is of version 2, and not 3"),
        (
            say(
                200,
                {"metadata": {"version": 3, "sources": [{"name": "default", "kind": "mssql"}]}, "resource_version": 1},
            ),
            "source default is mssql, and not postgres",
        ),
        (say(301, "", Location="https://elsewhere.example.com/"), "redirects to"),
    ],
)
def test_another_server(server: HasuraServer, hasura: Hasura, answer: Any, reason: str) -> None:
    hasura.next = [answer]
    with pytest.raises(ConfigurationError, match=reason):
        track(server, shop(), SCOPE)


def test_a_view_that_is_not_there(server: HasuraServer, hasura: Hasura) -> None:
    hasura.views = {"api.orders": {"id", "owner"}}
    with pytest.raises(ConfigurationError) as refused:
        track(server, shop(), SCOPE)
    text = str(refused.value)
    assert "refuses replace_metadata (400: cannot continue due to inconsistent metadata). Nothing was changed." in text
    assert "table api.customers in source default: Inconsistent object: no such table/view exists" in text
    assert (
        'select permission of support on api.orders: Inconsistent object: in table "api.orders": column "phone"' in text
    )
    assert hasura.version == 1


def test_a_policy_without_a_form_in_hasura() -> None:
    made = shop({"owner": {}}, meta={"api_policy": "lower(owner) = 'ann'"})
    (orders,) = [each for each in made.tables if each["table"]["name"] == "orders"]
    assert "select_permissions" not in orders
    (note,) = made.notes
    assert note.startswith("api_user may select nothing of orders over GraphQL: its row policy has no form in Hasura")
    assert f"# Not said here: {note}" in metadata_yaml(made, "phlo api hasura export")


def test_two_ways_between_the_same_views() -> None:
    deals, people = model("mrt_deals", {"buyer": {}, "seller": {}}), model("mrt_people", {"id": {}})
    tests = [relationship(deals, column, people, "id") for column in ("buyer", "seller")]
    tables = metadata(deals, people, *tests).tables
    names = [[each["name"] for each in table["array_relationships"]] for table in tables]
    assert names == [["people_by_buyer", "people_by_seller"], ["deals_by_buyer", "deals_by_seller"]]


def test_names_that_graphql_does_not_have() -> None:
    mart = model("mrt_first-name", {"a.b": {}, "1st": {}, "名": {}, "__x": {}, "ok": {}})
    (entry,) = metadata(mart).tables
    assert entry["configuration"]["custom_name"] == "first_name"
    assert entry["configuration"]["custom_column_names"] == {"a.b": "a_b", "1st": "_1st", "名": "u540d", "__x": "x"}
    assert wrong_parts(entry, {"ref": "TableEntry"}) == []
    for columns in ({"a.b": {}, "a_b": {}}, {"x": {}, "__x": {}}):
        with pytest.raises(ConfigurationError, match="would both be"):
            metadata(model("mrt_a", columns))
    with pytest.raises(ConfigurationError, match="columns of a are not known"):
        metadata(model("mrt_a"))


def test_the_file_is_the_same_each_time() -> None:
    texts = {metadata_yaml(shop(), "phlo api hasura export") for _ in range(2)}
    assert len(texts) == 1
    document = yaml.safe_load(texts.pop())
    assert document == shop().as_document()
    assert (document["version"], document["sources"][0]["kind"]) == (3, "postgres")
    tables = document["sources"][0]["tables"]
    assert [wrong_parts(table, {"ref": "TableEntry"}) for table in tables] == [[], []]
    assert wrong_parts({**tables[0], "select_permissions": [{"role": 1}]}, {"ref": "TableEntry"})  # it would be seen
