"""Views, roles and row policies in a real PostgreSQL, asked as PostgREST asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.publishing.postgres import publish
from airflow_provider_phlo.serving.marts import names_of, read_served
from airflow_provider_phlo.serving.postgrest.applying import Applied, apply_served, withdraw
from airflow_provider_phlo.serving.postgrest.readme import calls_of
from airflow_provider_phlo.serving.postgrest.script import views_sql
from airflow_provider_phlo.serving.postgrest.statements import Target
from tests.unit.serving.models import manifest, model, relationship
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
    for statement in ("SELECT FROM api.orders", "SELECT FROM marts.mrt_orders", "TABLE marts.mrt_orders"):
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


def test_what_a_role_cannot_read_in_the_view_it_cannot_read_in_the_mart(
    published: psycopg.Connection, apply: Apply, api: Api
) -> None:
    columns = {**ORDERS, "owner": {"meta": {"pii": True, "api_roles": ["support"]}}}
    mart = model("mrt_orders", columns, meta={"api_roles": ["api_user", "support"]})
    apply(mart)
    assert api.get("/orders?id=eq.1", role="support") == [{"id": 1, "owner": "bob", "total": 1.5}]
    assert api.get("/orders?id=eq.1&select=id,total") == [{"id": 1, "total": 1.5}]
    for role in ("api_anon", "api_user", "support"):
        api.session.execute(f"SET ROLE {role}")
        for wanted in ("owner", "id", "*", "count(*)", "o"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema marts"):
                api.session.execute(f"SELECT {wanted} FROM marts.mrt_orders o")
    # an earlier version gave the schema to roles: that is taken back
    published.execute("GRANT USAGE ON SCHEMA marts TO api_user")
    assert apply(mart).changed
    assert not apply(mart).changed
    published.execute("GRANT USAGE ON SCHEMA marts TO PUBLIC")
    with pytest.raises(
        ConfigurationError, match=r"api_user can read owner in marts\.mrt_orders itself, which model\.shop\.mrt_orders"
    ):
        apply(mart)
    # where all roles read the same, it makes no difference
    assert apply(model("mrt_orders", ORDERS, meta={"api_roles": ["api_user", "support"]})).changed


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


# --- publications


def test_a_publication_after_which_a_view_would_not_fit_is_refused(published: psycopg.Connection, apply: Apply) -> None:
    apply(model("mrt_orders", ORDERS, meta={"api_policy": "owner <> 'x'"}))
    with pytest.raises(SchemaError, match=r"total go.*view api\.orders.*api\.orders would not fit.*--apply") as refused:
        publish(orders().drop_columns("total"), published, "mrt_orders")
    assert "the old content stays" in str(refused.value)
    with pytest.raises(
        SchemaError, match=r"owner get another type.*policy phlo api api_user.*--withdraw --models mrt_"
    ):
        publish(orders().set_column(1, "owner", pa.array([1, 2, 3])), published, "mrt_orders")
    assert published.execute("SELECT count(total) FROM api.orders").fetchone() == (3,)


def test_a_column_leaves_the_view_first_and_then_the_mart(
    published: psycopg.Connection, apply: Apply, api: Api
) -> None:
    apply(model("mrt_orders", ORDERS))
    fewer = model("mrt_orders", {"id": {}, "owner": {}})
    applied = apply(fewer)
    assert applied.notes == ("orders is without total of marts.mrt_orders, which its model does not document.",)
    publish(orders().drop_columns("total"), published, "mrt_orders")
    assert api.get("/orders?id=eq.1") == [{"id": 1, "owner": "bob"}]
    assert not apply(fewer).changed


def test_a_new_column_reaches_the_view_after_the_mart(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    apply(model("mrt_orders", ORDERS))
    more = model("mrt_orders", {"note": {}, **ORDERS})
    with pytest.raises(ConfigurationError, match=r"marts\.mrt_orders has no note, which the model documents: publish"):
        apply(more)
    publish(orders().append_column("note", [["a", "b", "c"]]), published, "mrt_orders")
    before = published.execute("SELECT 'api.orders'::regclass::oid").fetchone()
    assert apply(more).changed
    assert published.execute("SELECT 'api.orders'::regclass::oid").fetchone() == before  # not even for a moment gone
    assert api.get("/orders?id=eq.1&select=note") == [{"note": "b"}]


def test_a_view_is_withdrawn_while_a_column_gets_another_type(
    published: psycopg.Connection, apply: Apply, api: Api
) -> None:
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "id >= 0"})
    apply(mart)
    assert withdraw(published, {mart["unique_id"]}, Target()) == ["orders"]
    assert withdraw(published, {mart["unique_id"]}, Target()) == []
    publish(orders().set_column(0, "id", pa.array([0.5, 1.5, 2.5])), published, "mrt_orders")
    assert actions(apply(mart)) == [("api.orders", "created")]
    assert api.get("/orders?id=gt.2&select=id") == [{"id": 2.5}]


# --- what is refused, and changes nothing


@pytest.mark.old_server
def test_a_server_whose_views_read_with_their_owners_rights(published: psycopg.Connection, apply: Apply) -> None:
    """On PostgreSQL 13 and 14; ``python -m tests.postgres_versions`` runs it there."""
    version = published.info.server_version // 10_000
    if version >= 15:
        apply(model("mrt_orders", ORDERS))
        return
    with pytest.raises(ConfigurationError, match=f"PostgreSQL {version}.*need 15 or later.*Nothing was changed"):
        apply(model("mrt_orders", ORDERS))
    assert published.execute("SELECT to_regrole('api_user'), to_regnamespace('api')").fetchone() == (None, None)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("CREATE ROLE api_user LOGIN", "api_user is there already, with LOGIN"),
        ("CREATE ROLE api_anon CREATEROLE", "api_anon is there already, with CREATEROLE"),
        ("CREATE ROLE api_user; CREATE ROLE boss; GRANT boss TO api_user", "api_user .* is a member of boss"),
        ("CREATE ROLE authenticator INHERIT", "authenticator .*, with INHERIT"),
        (
            "CREATE ROLE authenticator NOINHERIT; CREATE ROLE boss CREATEROLE; GRANT boss TO authenticator",
            "authenticator .* may become boss",
        ),
        ("CREATE SCHEMA api; CREATE VIEW api.orders AS SELECT 1 AS id", "view api.orders .* not made by this command"),
        ("CREATE SCHEMA api; CREATE TABLE api.orders (id int)", "api.orders is there already, and is not a view"),
        ("GRANT SELECT ON marts.mrt_orders TO PUBLIC", "others who read it: PUBLIC. Revoke their SELECT"),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", ""),
        (
            "CREATE POLICY theirs ON marts.mrt_orders FOR SELECT TO PUBLIC USING (true)",
            "row policies of somebody else that apply to api_user too: theirs",
        ),
        (
            "CREATE ROLE analyst; GRANT SELECT ON marts.mrt_orders TO analyst",
            r'hide all rows from others who read it: analyst.*FOR SELECT TO "analyst" USING \(true\)',
        ),
        (
            "CREATE ROLE a; CREATE ROLE b; GRANT SELECT ON marts.mrt_orders TO a, b",
            r'from others who read it: a, b\..*FOR SELECT TO "a", "b" USING \(true\)',
        ),
    ],
)
def test_what_is_in_the_way_is_named(published: psycopg.Connection, apply: Apply, before: str, reason: str) -> None:
    published.execute(before)
    there = relations(published)
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"})
    if not reason:  # what is granted by default is taken back
        apply(mart)
        published.execute("ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC")
        return
    with pytest.raises(ConfigurationError, match=reason):
        apply(mart)
    assert relations(published) == there
    assert published.execute("SELECT relrowsecurity FROM pg_class WHERE relname = 'mrt_orders'").fetchone() == (False,)


def test_nobody_reads_by_a_grant_of_somebody_else(published: psycopg.Connection, apply: Apply) -> None:
    mart = model("mrt_orders", {"id": {}, "owner": {"tags": ["pii"]}, "total": {}})
    apply(mart)
    published.execute("GRANT SELECT (owner) ON marts.mrt_orders TO PUBLIC")
    with pytest.raises(ConfigurationError, match=r"api_anon can read owner of marts\.mrt_orders by a grant"):
        apply(mart)
    published.execute("REVOKE SELECT (owner) ON marts.mrt_orders FROM PUBLIC")
    assert not apply(mart).changed


def test_postgrest_may_connect_where_not_everybody_may(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    published.execute("REVOKE CONNECT ON DATABASE phlo FROM PUBLIC")
    try:
        apply(model("mrt_orders", ORDERS))
        assert len(api.get("/orders")) == 3
        assert not apply(model("mrt_orders", ORDERS)).changed
    finally:
        published.execute("GRANT CONNECT, TEMPORARY ON DATABASE phlo TO PUBLIC")


def test_readers_with_a_policy_of_their_own_keep_their_rows(published: psycopg.Connection, apply: Apply) -> None:
    published.execute("CREATE ROLE analyst; GRANT USAGE ON SCHEMA marts TO analyst")
    published.execute("GRANT SELECT ON marts.mrt_orders TO analyst; GRANT analyst TO CURRENT_USER")
    published.execute("CREATE POLICY readers ON marts.mrt_orders FOR SELECT TO analyst USING (true)")
    apply(model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"}))
    with published.transaction(force_rollback=True):
        published.execute("SET LOCAL ROLE analyst")
        assert published.execute("SELECT count(*) FROM marts.mrt_orders").fetchone() == (3,)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("nothing > 1", 'column "nothing" does not exist'),
        ("sum(id) > 1", "aggregate functions are not allowed"),
        ("generate_series(1, 3) = 1", "set-returning functions are not allowed"),
        ("owner", "argument of POLICY must be type boolean"),
    ],
)
def test_a_policy_that_the_table_does_not_bear(
    published: psycopg.Connection, apply: Apply, policy: str, reason: str
) -> None:
    where = r"model\.shop\.mrt_orders: meta\.api_policy \(auditor\): PostgreSQL refuses what the model declares: "
    policies = {"api_user": True, "auditor": policy}
    with pytest.raises(ConfigurationError, match=where + reason):
        apply(model("mrt_orders", ORDERS, meta={"api_roles": list(policies), "api_policy": policies}))
    assert published.execute("SELECT to_regnamespace('api')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("exists(select 1 from marts.secret s where s.id = mrt_orders.id)", "permission denied for table secret"),
        ("exists(select 1 from marts.mrt_orders o where o.id > 1)", "infinite recursion detected in policy"),
        ("lo_import('/etc/passwd') is not null", "permission denied for function lo_import"),
        ("owner = current_setting('app.owner')", 'unrecognized configuration parameter "app.owner"'),
        ("id = 1 / 0", "division by zero"),
    ],
)
def test_a_policy_with_which_every_request_would_fail(
    published: psycopg.Connection, apply: Apply, policy: str, reason: str
) -> None:
    published.execute("CREATE TABLE marts.secret (id int)")
    policies = {"api_user": True, "auditor": policy}
    with pytest.raises(
        ConfigurationError, match=rf"model\.shop\.mrt_orders: .* request of auditor would fail: {reason}"
    ):
        apply(model("mrt_orders", ORDERS, meta={"api_roles": list(policies), "api_policy": policies}))
    assert published.execute("SELECT to_regnamespace('api')").fetchone() == (None,)


def test_a_policy_that_works_no_more_is_found_by_the_next_application(
    published: psycopg.Connection, apply: Apply
) -> None:
    published.execute("CREATE TABLE marts.listed (id int); CREATE ROLE api_user")
    published.execute("GRANT SELECT ON marts.listed TO api_user")
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "id in (select l.id from marts.listed l)"})
    apply(mart)
    published.execute("REVOKE SELECT ON marts.listed FROM api_user")
    with pytest.raises(ConfigurationError, match="request of api_user would fail: permission denied for table listed"):
        apply(mart)


def test_a_policy_of_somebody_else_that_comes_later(published: psycopg.Connection, apply: Apply) -> None:
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"})
    apply(mart)
    published.execute("CREATE POLICY theirs ON marts.mrt_orders FOR SELECT TO PUBLIC USING (true)")
    with pytest.raises(ConfigurationError, match="row policies of somebody else that apply to api_user too: theirs"):
        apply(mart)


def test_roles_whose_names_begin_alike(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    ann, bob = ("r" * 57 + end for end in ("_ann", "_bob"))
    policies = {ann: "owner = 'ann'", bob: "owner = 'bob'"}
    apply(model("mrt_orders", ORDERS, meta={"api_roles": list(policies), "api_policy": policies}))
    assert [api.get("/orders?select=owner", role=role) for role in (ann, bob)] == [
        [{"owner": "ann"}],
        [{"owner": "bob"}],
    ]


@pytest.mark.parametrize("options", ["INHERIT TRUE, SET TRUE", "INHERIT FALSE, SET FALSE"])
def test_postgrest_becomes_roles_and_inherits_from_none(
    published: psycopg.Connection, apply: Apply, api: Api, options: str
) -> None:
    if published.info.server_version < 160_000:
        pytest.skip("a membership has no options")
    published.execute("CREATE ROLE authenticator INHERIT; CREATE ROLE api_user; GRANT api_user TO authenticator")
    published.execute(f"ALTER ROLE authenticator NOINHERIT; GRANT api_user TO authenticator WITH {options}")
    mart = model("mrt_orders", ORDERS)
    apply(mart)
    assert len(api.get("/orders")) == 3
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.session.execute("SELECT id FROM api.orders")
    assert not apply(mart).changed
    published.execute(f"GRANT api_user TO authenticator WITH {options}")
    assert apply(mart).changed
    assert len(api.get("/orders")) == 3


def test_the_requests_of_the_readme_are_for_all_readers(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    columns = {**ORDERS, "id": {"meta": {"pii": True, "api_roles": ["support"]}}}
    mart = model("mrt_orders", columns, meta={"api_roles": ["api_user", "support"]})
    apply(mart)
    (served,) = read_served([manifest(mart)], ["*"]).marts
    calls = calls_of(served, ())
    assert calls[0].path == "/orders?select=owner,total&limit=10"
    for role in ("api_user", "support"):
        assert [len(api.get(call.path, role=role)) for call in calls] == [3, 3, 3, 0]


# --- what others let roles read


PAST = {
    "a view": "CREATE VIEW api.every AS SELECT id, owner FROM marts.mrt_orders; GRANT SELECT ON api.every TO api_user",
    "a view over ours": "CREATE VIEW api.every AS SELECT id FROM api.orders; GRANT SELECT (id) ON api.every TO PUBLIC",
    "a materialized view": "CREATE MATERIALIZED VIEW api.every AS TABLE marts.mrt_orders; "
    "GRANT ALL ON api.every TO api_user",
    "a view over such a view": "CREATE VIEW marts.some AS TABLE marts.mrt_orders; "
    "CREATE VIEW api.every AS TABLE marts.some; "
    "GRANT SELECT ON api.every TO api_user",
    "in another schema": "CREATE SCHEMA b; GRANT USAGE ON SCHEMA b TO api_user; CREATE VIEW b.every AS TABLE "
    "marts.mrt_orders; GRANT SELECT ON b.every TO api_user",
}


@pytest.mark.parametrize("kind", PAST)
def test_a_view_of_somebody_else_that_shows_more(published: psycopg.Connection, apply: Apply, kind: str) -> None:
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"})
    apply(mart)
    published.execute(PAST[kind])
    with pytest.raises(
        ConfigurationError, match=r"api_user can read marts\.mrt_orders by \w+\.every, .*security_invoker"
    ):
        apply(mart)
    if "MATERIALIZED" not in PAST[kind]:
        published.execute(
            "DO $$ DECLARE v regclass = coalesce(to_regclass('b.every'), to_regclass('api.every')); BEGIN "
            "EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', v); END $$"
        )
        assert not apply(mart).changed


def test_a_view_of_somebody_else_that_shows_what_the_model_grants(published: psycopg.Connection, apply: Apply) -> None:
    mart = model("mrt_orders", {**ORDERS, "owner": {"tags": ["pii"]}})
    apply(mart)
    published.execute(
        "CREATE VIEW api.theirs AS SELECT id FROM marts.mrt_orders; GRANT SELECT ON api.theirs TO api_user"
    )
    assert apply(mart).notes == ("api_user can read api.theirs too, which no model grants.",)
    published.execute(
        "CREATE VIEW api.more AS SELECT owner FROM marts.mrt_orders; GRANT SELECT ON api.more TO api_user"
    )
    with pytest.raises(ConfigurationError, match=r"api_user can read marts\.mrt_orders by api\.more"):
        apply(mart)


def test_what_else_roles_can_do_is_named(published: psycopg.Connection, apply: Apply) -> None:
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"})
    assert apply(mart).notes == ()
    published.execute("CREATE ROLE weak; GRANT weak TO authenticator WITH INHERIT FALSE")
    published.execute("CREATE TABLE api.inbox (id int); GRANT INSERT (id) ON api.inbox TO api_user")
    published.execute("GRANT CREATE ON SCHEMA api TO api_user")
    published.execute("CREATE POLICY theirs ON marts.mrt_orders AS RESTRICTIVE FOR SELECT USING (id < 100)")
    published.execute("CREATE POLICY elsewhere ON marts.mrt_orders AS RESTRICTIVE FOR SELECT TO weak USING (false)")
    write = "which no model grants: revoke it, unless requests are to write."
    assert apply(mart).notes == (
        f"api_user can change api.inbox, {write}",
        f"api_user can change the schema api, {write}",
        "authenticator may become weak too, which no model names: a request that claims it does what it may.",
        "marts.mrt_orders has the restrictive row policy theirs of somebody else: rows that it hides are not served.",
    )
    published.execute("DROP POLICY theirs ON marts.mrt_orders; DROP POLICY elsewhere ON marts.mrt_orders")
    published.execute("REVOKE weak FROM authenticator; DROP ROLE weak")


def test_what_else_roles_can_read_is_named(published: psycopg.Connection, apply: Apply) -> None:
    apply(model("mrt_orders", ORDERS))
    published.execute("CREATE SCHEMA secret; GRANT USAGE ON SCHEMA secret TO api_user; CREATE TABLE secret.p (id int)")
    published.execute(
        "GRANT SELECT ON secret.p TO api_user; CREATE TABLE api.open (id int); GRANT SELECT ON api.open TO PUBLIC"
    )
    published.execute("CREATE FUNCTION api.steal() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
    published.execute("CREATE FUNCTION api.honest() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    applied = apply(model("mrt_orders", ORDERS))
    assert not applied.changed
    assert applied.notes == (
        "api_user can read api.open too, which no model grants.",
        "api_user can call api.steal(), which runs with its owner's rights: what it returns is not checked here.",
        "api_user can read secret.p too, which no model grants.",
    )


# --- more than one project, more than one schema


def test_a_view_of_another_project_is_neither_taken_nor_dropped(
    published: psycopg.Connection, apply: Apply, api: Api
) -> None:
    publish(orders(), published, "mrt_sales")
    ours = model("mrt_orders", ORDERS, meta={"api_policy": "owner = 'ann'"})
    apply(ours)
    theirs = model("mrt_sales", ORDERS, meta={"api_name": "orders"}, project="other")
    with pytest.raises(ConfigurationError, match=r"api\.orders is that of model\.shop\.mrt_orders, of another"):
        apply(theirs)
    same = model("mrt_orders", ORDERS, meta={"api_name": "all_orders"}, project="other")
    with pytest.raises(ConfigurationError, match=r"mrt_orders is served as api\.orders already, for model\.shop"):
        apply(same)
    applied = apply(model("mrt_sales", ORDERS, project="other"), prune=True)
    assert (actions(applied), applied.notes) == ([("api.sales", "created")], ())
    assert [row["owner"] for row in api.get("/orders")] == ["ann"]
    assert not apply(ours, prune=True).changed
    # a project that has another name now takes its views over, once they are dropped
    published.execute("DROP VIEW api.orders")
    assert actions(apply(model("mrt_orders", ORDERS, project="other"))) == [("api.orders", "created")]


def test_a_mart_is_served_in_one_schema(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    mart = model("mrt_orders", ORDERS, meta={"api_policy": "owner = 'ann'"})
    apply(mart)
    with pytest.raises(ConfigurationError, match=r"mrt_orders is served as api\.orders already\..*--schema api "):
        apply(model("mrt_orders", ORDERS), target=Target(schema="v2"))
    assert len(api.get("/orders")) == 1
    withdraw(published, {mart["unique_id"]}, Target())
    assert apply(mart, target=Target(schema="v2")).changed
    assert len(api.get("/orders", schema="v2")) == 1


def test_a_view_that_was_changed_by_hand_is_left_alone(published: psycopg.Connection, apply: Apply) -> None:
    apply(model("mrt_orders", ORDERS))
    published.execute("CREATE OR REPLACE VIEW api.orders AS SELECT id, owner, total FROM marts.mrt_orders WHERE id > 1")
    with pytest.raises(ConfigurationError, match=r"changed by hand what the view api\.orders selects"):
        apply(model("mrt_orders", ORDERS))


def test_a_view_that_somebody_reads_loses_no_column(published: psycopg.Connection, apply: Apply) -> None:
    apply(model("mrt_orders", ORDERS))
    published.execute("CREATE VIEW public.theirs AS SELECT id FROM api.orders")
    try:
        with pytest.raises(
            ConfigurationError, match=r"has to lose columns, but view (public\.)?theirs would go with it"
        ):
            apply(model("mrt_orders", {"id": {}}))
        with pytest.raises(ConfigurationError, match=r"is to be dropped, but view (public\.)?theirs would go"):
            apply(model("mrt_orders", ORDERS, meta={"api_name": "sales"}), prune=True)
        # what is added is added
        publish(orders().append_column("note", [["a", "b", "c"]]), published, "mrt_orders")
        assert apply(model("mrt_orders", {"note": {}, **ORDERS})).changed
        assert published.execute("SELECT count(*) FROM public.theirs").fetchone() == (3,)
    finally:
        published.execute("DROP VIEW public.theirs")


def test_marts_that_are_not_published_are_named(connection: psycopg.Connection, apply: Apply) -> None:
    with pytest.raises(ConfigurationError, match="None of the marts is published to the schema marts"):
        apply(model("mrt_orders", ORDERS))
    publish(orders(), connection, "mrt_orders")
    applied = apply(model("mrt_orders", ORDERS), model("mrt_later", {"id": {}}))
    assert actions(applied) == [("api.later", "not published"), ("api.orders", "created")]
    publish(orders(), connection, "mrt_later")
    again = apply(model("mrt_orders", ORDERS), model("mrt_later", {"id": {}}))
    assert actions(again) == [("api.later", "created"), ("api.orders", "unchanged")]


def test_views_without_a_model_are_named_then_dropped(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    publish(orders(), published, "mrt_old")
    old = model("mrt_old", ORDERS, meta={"api_policy": "id > 0", "api_roles": ["api_user", "auditor"]})
    apply(model("mrt_orders", ORDERS), old)
    published.execute("CREATE VIEW api.theirs AS SELECT 1 AS id")
    applied = apply(model("mrt_orders", ORDERS))
    assert applied.notes == ("api.old has no model any more (model.shop.mrt_old): --prune drops it.",)
    assert not applied.changed
    # a model that is there and was not chosen keeps its view
    assert apply(model("mrt_orders", ORDERS), old, models=["mrt_orders"], prune=True).changed is False
    pruned = apply(model("mrt_orders", ORDERS), prune=True)
    assert actions(pruned) == [("api.orders", "unchanged"), ("api.old", "dropped")]
    left = published.execute(
        "SELECT to_regclass('api.old'), to_regclass('api.theirs') IS NOT NULL, relrowsecurity, "
        "has_any_column_privilege('api_user', oid, 'SELECT'), has_schema_privilege('auditor', 'marts', 'USAGE') "
        "FROM pg_class WHERE oid = 'marts.mrt_old'::regclass"
    ).fetchone()
    assert left == (None, True, False, False, False)


def guards(connection: psycopg.Connection, table: str) -> tuple[bool, bool, int]:
    """Return whether a mart has row security, whether api_user reads a column of it, and its row policies."""
    found = connection.execute(
        "SELECT relrowsecurity, has_any_column_privilege('api_user', c.oid, 'SELECT'), "
        "(SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c WHERE c.oid = %s::regclass",
        [table],
    ).fetchone()
    assert found is not None
    return found


@pytest.mark.parametrize("at_once", [True, False])
def test_a_view_that_gets_another_name(published: psycopg.Connection, apply: Apply, api: Api, at_once: bool) -> None:
    apply(model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"}))
    renamed = model("mrt_orders", ORDERS, meta={"api_policy": "id > 1", "api_name": "sales"})
    if not at_once:
        apply(renamed)
    assert ("api.orders", "dropped") in actions(apply(renamed, prune=True))
    assert [row["id"] for row in api.get("/sales")] == [2]
    # row security was enabled for the view of the first name, and goes with the policy
    apply(model("mrt_orders", ORDERS, meta={"api_name": "sales"}))
    assert len(api.get("/sales")) == 3
    assert guards(published, "marts.mrt_orders") == (False, True, 0)


def test_a_model_that_gets_another_table(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    publish(orders(2), published, "mrt_other")
    apply(model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"}))
    apply(model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"}, alias="mrt_other"))
    assert [row["id"] for row in api.get("/orders")] == [1]
    assert guards(published, "marts.mrt_orders") == (False, False, 0)
    assert guards(published, "marts.mrt_other") == (True, True, 1)


def test_a_name_that_another_model_takes(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    publish(orders(2), published, "mrt_other")
    apply(model("mrt_orders", ORDERS, meta={"api_name": "sales"}))
    swapped = [
        model("mrt_orders", ORDERS),
        model("mrt_other", {"id": {}}, meta={"api_name": "sales"}),
    ]
    applied = apply(*swapped, prune=True)
    assert actions(applied) == [("api.orders", "created"), ("api.sales", "changed")]
    assert api.get("/sales") == [{"id": 0}, {"id": 1}]
    assert not apply(*swapped, prune=True).changed


def test_views_of_both_names_are_withdrawn(published: psycopg.Connection, apply: Apply) -> None:
    apply(model("mrt_orders", ORDERS, meta={"api_policy": "id > 0"}))
    renamed = model("mrt_orders", ORDERS, meta={"api_policy": "id > 0", "api_name": "sales"})
    apply(renamed)
    assert withdraw(published, [renamed["unique_id"]], Target()) == ["orders", "sales"]
    assert guards(published, "marts.mrt_orders") == (False, False, 0)
    assert published.execute("SELECT has_schema_privilege('api_user', 'api', 'USAGE')").fetchone() == (False,)


def test_a_view_of_somebody_else_is_not_dropped(published: psycopg.Connection, apply: Apply) -> None:
    publish(orders(), published, "mrt_kept")
    kept, gone = model("mrt_kept", ORDERS), model("mrt_orders", ORDERS)
    apply(kept, gone)
    published.execute("DROP VIEW api.orders; CREATE VIEW api.orders AS SELECT 'mine' AS precious")
    with pytest.raises(ConfigurationError, match=r"api.orders is to be dropped, but somebody has changed by hand"):
        apply(kept, prune=True)
    with pytest.raises(ConfigurationError, match=r"api.orders is to be dropped, but somebody has changed by hand"):
        withdraw(published, [gone["unique_id"]], Target())
    assert published.execute("SELECT * FROM api.orders").fetchall() == [("mine",)]


def test_comments_of_columns_that_are_documented_no_more(published: psycopg.Connection, apply: Apply) -> None:
    apply(model("mrt_orders", ORDERS))
    apply(model("mrt_orders"))
    assert published.execute("SELECT col_description('api.orders'::regclass, 1)").fetchone() == (None,)


# --- names, embedding, the file


ODD = [
    "first-name",
    "a.b",
    "1st",
    "select",
    "Order",
    "名前",
    "it's",
    'say "hi"',
    "%s {x}",
    "back\\slash",
    "$phlo$",
    "x" * 63,
]


def test_any_name(connection: psycopg.Connection, apply: Apply, api: Api) -> None:
    nodes = []
    for number, name in enumerate(ODD):
        columns = [*ODD[number:], *ODD[:number]]
        publish(pa.table({column: [number] for column in columns}), connection, name, schema='odd "marts"')
        meta = {"api_roles": ["api_user", name], "api_policy": True}
        nodes.append(model(name, {each: {"description": each} for each in columns}, meta=meta, description=name))
    target = Target('odd "marts"', 'odd "api"')
    apply(*nodes, target=target)
    assert not apply(*nodes, target=target).changed
    for number, name in enumerate(ODD):
        rows = api.get(f"/{quote(name, safe='')}", schema='odd "api"', role=name)
        assert rows == [dict.fromkeys([*ODD[number:], *ODD[:number]], number)]


def test_related_rows_are_embedded(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    publish(pa.table({"name": ["ann", "bob", "cy"], "city": ["Rome", None, "Oslo"]}), published, "mrt_customers")
    many = model("mrt_orders", ORDERS)
    one = model("mrt_customers", {"name": {}, "city": {}}, meta={"api_roles": ["api_user", "api_anon"]})
    related = relationship(many, "owner", one, "name")
    apply(many, one, related)
    assert not apply(many, one, related).changed
    assert api.get("/orders?select=id,customers(city)&order=id&limit=1") == [{"id": 0, "customers": [{"city": "Rome"}]}]
    assert api.get("/customers?select=name,orders(id,total)&name=eq.bob") == [
        {"name": "bob", "orders": [{"id": 1, "total": 1.5}]}
    ]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.get("/customers?select=name,orders(id)", role="api_anon")
    # the view has to be made anew, and so have the functions
    assert apply(model("mrt_orders", {"id": {}, "owner": {}}), one, related).changed
    assert api.get("/customers?select=name,orders(*)&name=eq.bob") == [
        {"name": "bob", "orders": [{"id": 1, "owner": "bob"}]}
    ]
    apply(many, one)
    assert published.execute("SELECT count(*) FROM pg_proc WHERE pronamespace = 'api'::regnamespace").fetchone() == (0,)


def test_two_ways_between_the_same_views(published: psycopg.Connection, apply: Apply, api: Api) -> None:
    publish(pa.table({"buyer": ["ann"], "seller": ["bob"]}), published, "mrt_deals")
    deals, people = model("mrt_deals", {"buyer": {}, "seller": {}}), model("mrt_people", {"id": {}, "owner": {}})
    publish(orders(), published, "mrt_people")
    tests = [relationship(deals, column, people, "owner") for column in ("buyer", "seller")]
    apply(deals, people, *tests)
    (row,) = api.get("/deals?select=people_by_buyer(id),people_by_seller(id)")
    assert row == {"people_by_buyer": [{"id": 0}], "people_by_seller": [{"id": 1}]}
    assert api.get("/people?id=eq.1&select=deals_by_seller(buyer),deals_by_buyer(buyer)") == [
        {"deals_by_seller": [{"buyer": "ann"}], "deals_by_buyer": None}
    ]


def test_the_file_says_what_is_applied(published: psycopg.Connection, apply: Apply) -> None:
    publish(orders(), published, "mrt_customers")
    many, one = model("mrt_orders", ORDERS, meta={"api_policy": CLAIM}), model("mrt_customers", ORDERS)
    nodes = [many, one, relationship(many, "id", one, "id")]
    served = read_served([manifest(*nodes)], ["*"])
    published.execute(views_sql(served, Target(), "phlo api generate-views"))  # as psql would
    before = [row for row in relations(published) if not row[2].startswith("_phlo")]
    applied = apply(*nodes)
    assert {each.reason for each in applied.views} == {"it was not recorded"}
    states = [
        [(oid, name, acl) for oid, _, name, acl in rows if not name.startswith("_phlo")]
        for rows in (before, relations(published))
    ]
    assert states[0] == states[1]
    assert not apply(*nodes).changed
