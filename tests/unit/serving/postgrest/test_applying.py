"""Views, roles and row policies in a real PostgreSQL, asked as PostgREST asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_phlo.publishing.postgres import publish
from airflow_provider_phlo.serving.marts import names_of, read_served
from airflow_provider_phlo.serving.postgrest.applying import Applied, apply_served
from airflow_provider_phlo.serving.postgrest.statements import Target
from tests.unit.serving.models import manifest, model
from tests.unit.serving.postgrest_requests import Api

# one worker starts the server
pytestmark = pytest.mark.xdist_group("served")

Apply = Callable[..., Applied]
ORDERS = {"id": {"description": "The order's number."}, "owner": {}, "total": {}}
CLAIM = "owner = current_setting('request.jwt.claims', true)::json ->> 'sub'"


def orders(count: int = 3) -> pa.Table:
    names = ["ann", "bob", "cy"]
    return pa.table({"id": range(count), "owner": [names[each % 3] for each in range(count)], "total": [1.5] * count})


@pytest.fixture
def apply(connection: psycopg.Connection) -> Apply:
    def run(*nodes: Any, prune: bool = False, models: Sequence[str] = ("*",), target: Target | None = None) -> Applied:
        known = [manifest(*nodes)]
        return apply_served(connection, read_served(known, models), target or Target(), names_of(known), prune=prune)

    return run


@pytest.fixture
def published(connection: psycopg.Connection) -> psycopg.Connection:
    publish(orders(), connection, "mrt_orders")
    return connection


def actions(applied: Applied) -> list[tuple[str, str]]:
    return [(each.view, str(each.action)) for each in applied.views]


def relations(connection: psycopg.Connection) -> list[Any]:
    """Return everything of the catalog that a second application must not touch."""
    return connection.execute(
        "SELECT c.oid, c.xmin::text, c.relname::text, c.relacl::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('api', 'marts') ORDER BY 1"
    ).fetchall()


def test_a_view_is_read_as_the_role_of_the_request(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    applied = apply(model("mrt_orders", ORDERS, description="One row per order."))
    assert actions(applied) == [("api.orders", "created")]
    assert api.get("/orders?order=id.desc&limit=2") == [
        {"id": 2, "owner": "cy", "total": 1.5},
        {"id": 1, "owner": "bob", "total": 1.5},
    ]
    assert api.get("/orders?owner=eq.bob&select=id") == [{"id": 1}]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.get("/orders", role="api_anon")
    comments = published.execute(
        "SELECT obj_description('api.orders'::regclass, 'pg_class'), col_description('api.orders'::regclass, 1)"
    ).fetchone()
    assert comments == ("One row per order.", "The order's number.")


def test_nothing_is_changed_the_second_time(published: psycopg.Connection, apply: Apply) -> None:
    nodes = [model("mrt_orders", ORDERS, description="It's 100 % \\ $1.", meta={"api_policy": CLAIM})]
    assert apply(*nodes).changed
    before = relations(published)
    again = apply(*nodes)
    assert (again.changed, actions(again)) == (False, [("api.orders", "unchanged")])
    assert relations(published) == before
    publish(orders(5), published, "mrt_orders")
    assert not apply(*nodes).changed


def test_roles_may_do_nothing_else(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    apply(model("mrt_orders", ORDERS))
    roles = published.execute(
        "SELECT rolname, rolcanlogin OR rolsuper OR rolinherit OR rolcreaterole OR rolcreatedb OR rolbypassrls "
        "FROM pg_roles WHERE rolname IN ('api_anon', 'api_user', 'authenticator') ORDER BY 1"
    ).fetchall()
    assert roles == [("api_anon", False), ("api_user", False), ("authenticator", False)]
    assert api.session.execute("SELECT current_user").fetchone() == ("authenticator",)
    for statement in ("SELECT FROM api.orders", "SELECT FROM marts.mrt_orders"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.session.execute(statement)
    api.session.execute("SET ROLE api_user")
    for statement in ("DELETE FROM api.orders", "UPDATE marts.mrt_orders SET id = 1", "CREATE TABLE api.x (id int)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.session.execute(statement)


def test_rows_by_the_claims_of_the_token(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    apply(model("mrt_orders", ORDERS, meta={"api_policy": CLAIM}))
    assert [row["id"] for row in api.get("/orders", claims={"sub": "bob"})] == [1]
    assert api.get("/orders") == []
    # the publisher still writes, and what it writes is subject to the policy
    result = publish(orders(6), published, "mrt_orders")
    assert result.rows == 6
    assert [row["id"] for row in api.get("/orders?order=id", claims={"sub": "bob"})] == [1, 4]
    changed = apply(model("mrt_orders", ORDERS, meta={"api_policy": "id < 2"}))
    assert changed.views[0].reason == "the model has changed"
    assert len(api.get("/orders")) == 2
    apply(model("mrt_orders", ORDERS))
    assert len(api.get("/orders")) == 6
    assert published.execute(
        "SELECT relrowsecurity FROM pg_class WHERE oid = 'marts.mrt_orders'::regclass"
    ).fetchone() == (False,)


def test_roles_see_different_rows_and_columns(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    columns = {**ORDERS, "owner": {"meta": {"pii": True, "api_roles": ["support"]}}}
    meta = {"api_roles": ["api_anon", "api_user", "support"]}
    policies = {"api_anon": "id = 0", "api_user": True, "support": "owner <> 'ann'"}
    apply(model("mrt_orders", columns, meta={**meta, "api_policy": policies}))
    assert api.get("/orders?select=id,total", role="api_anon") == [{"id": 0, "total": 1.5}]
    assert len(api.get("/orders?select=id")) == 3
    assert api.get("/orders?order=id", role="support")[0] == {"id": 1, "owner": "bob", "total": 1.5}
    for path in ("/orders?select=owner", "/orders", "/orders?select=id&owner=eq.ann"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.get(path)


def test_personal_data_is_left_out(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    applied = apply(model("mrt_orders", {**ORDERS, "owner": {"tags": ["pii"]}}))
    assert api.get("/orders?id=eq.0") == [{"id": 0, "total": 1.5}]
    assert applied.notes == ()
    # nor of the mart itself, which the view reads with the same rights
    api.session.execute("SET ROLE api_user")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.session.execute("SELECT owner FROM marts.mrt_orders")


def test_what_was_granted_before_is_taken_back(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    apply(model("mrt_orders", ORDERS, meta={"api_roles": ["api_anon", "billing"]}))
    assert len(api.get("/orders", role="billing")) == 3
    apply(model("mrt_orders", ORDERS))
    for role in ("api_anon", "billing"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.get("/orders", role=role)
    usage = published.execute(
        "SELECT has_schema_privilege(r, s, 'USAGE') FROM unnest(ARRAY['api_anon', 'billing']) r, "
        "unnest(ARRAY['api', 'marts']) s"
    ).fetchall()
    assert usage == [(False,)] * 4
    assert apply(model("mrt_orders", ORDERS)).changed is False


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("REVOKE SELECT ON api.orders FROM api_user", "who may read it"),
        ("GRANT INSERT ON marts.mrt_orders TO api_user", "who may read it"),
        ("COMMENT ON COLUMN api.orders.id IS 'x'", "its columns or their comments"),
        ("ALTER VIEW api.orders RESET (security_invoker)", "its options"),
        ("ALTER TABLE marts.mrt_orders DISABLE ROW LEVEL SECURITY", "row security"),
        ('DROP POLICY "phlo api api_user" ON marts.mrt_orders', "row policies"),
        ('ALTER POLICY "phlo api api_user" ON marts.mrt_orders USING (true)', "row policies"),
        ("DROP VIEW api.orders", "somebody has dropped it"),
    ],
)
def test_what_somebody_has_changed_is_set_again(
    published: psycopg.Connection, apply: Apply, api: Api, statement: str, reason: str
) -> None:
    nodes = [model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"})]
    apply(*nodes)
    published.execute(statement)
    applied = apply(*nodes)
    assert reason in applied.views[0].reason
    assert len(api.get("/orders")) == 2
    assert not apply(*nodes).changed
