"""What single queries are made of, and what is not known of them."""

from __future__ import annotations

import duckdb
import pytest

from airflow_provider_phlo.lineage.sql import analyse_sql, table_relation

TABLES = {
    "t": ["a", "b", "c", "l", "s"],
    "u": ["a", "d", "e"],
    "v": ["b", "x"],
    "odd": ["a.b", 'q"x', "Grün", "select"],
}


def tables(parts):
    """Return a table of ``TABLES``; of another, nothing is known but what is read of it."""
    name = parts[-1].lower()
    return table_relation(name, TABLES.get(name, []), complete=name in TABLES)


def lineage(sql, dialect="duckdb"):
    """Return the columns of a query as ``name: origins``, those it takes as they are without brackets."""
    relation = analyse_sql(sql, dialect, tables)
    return {column.name: said(column.value) for column in relation.columns}


def said(value):
    if value.unknown:
        return f"unknown: {value.unknown}"
    marks = {"copied": "{}", "computed": "({})", "aggregated": "[{}]"}
    return " ".join(sorted(marks[how].format(".".join(origin)) for origin, how in value.origins.items()))


def effects(sql, dialect="duckdb"):
    return {".".join(origin): str(effect) for origin, effect in analyse_sql(sql, dialect, tables).effects.items()}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a, t.b, T.C AS d FROM t", {"a": "t.a", "b": "t.b", "d": "t.c"}),
        ("SELECT a + b AS x, count(*) AS n, 1 AS one FROM t", {"x": "(t.a) (t.b)", "n": "", "one": ""}),
        ("SELECT CAST(a AS VARCHAR) AS x, b::int AS y FROM t", {"x": "(t.a)", "y": "(t.b)"}),
        ("SELECT max(a) AS x FROM t", {"x": "[t.a]"}),
        ("SELECT CASE WHEN a > 1 THEN b ELSE 0 END AS x FROM t", {"x": "(t.a) (t.b)"}),
        # an alias may be used after it in DuckDB, but gives way to a column
        ("SELECT a AS x, x + 1 AS y FROM t", {"x": "t.a", "y": "(t.a)"}),
        ("SELECT a AS b, b + 1 AS y FROM t", {"b": "t.a", "y": "(t.b)"}),
        ("WITH z AS (SELECT * FROM t) SELECT z.b FROM z", {"b": "t.b"}),
        ("WITH z(p, q) AS (SELECT a, b FROM t) SELECT q, p FROM z", {"q": "t.b", "p": "t.a"}),
        ("WITH t AS (SELECT d AS a FROM u) SELECT a FROM t", {"a": "u.d"}),
        ("SELECT * FROM (SELECT a AS x FROM t) q", {"x": "t.a"}),
        ("SELECT x FROM (SELECT a AS x FROM t)", {"x": "t.a"}),
        ("SELECT * EXCLUDE (b, c, l) FROM t", {"a": "t.a", "s": "t.s"}),
        (
            "SELECT * REPLACE (c AS a) FROM v JOIN (SELECT a, c FROM t) q ON true",
            {"b": "v.b", "x": "v.x", "a": "t.c", "c": "t.c"},
        ),
        ("SELECT * RENAME (b AS bb) FROM v", {"bb": "v.b", "x": "v.x"}),
        ("FROM v", {"b": "v.b", "x": "v.x"}),
        ("SELECT MAP {b: x, 'k': 1} AS m FROM v", {"m": "(v.b) (v.x)"}),
        ("SELECT MAP {1: MAP {x: b}} AS m FROM v", {"m": "(v.b) (v.x)"}),
        ("SELECT {'b': x} AS m FROM v", {"m": "(v.x)"}),
        ("FROM v SELECT x", {"x": "v.x"}),
        ("SELECT v.*, u.d FROM u, v", {"b": "v.b", "x": "v.x", "d": "u.d"}),
        (
            "SELECT * FROM t JOIN u USING (a)",
            {"a": "t.a", "b": "t.b", "c": "t.c", "l": "t.l", "s": "t.s", "d": "u.d", "e": "u.e"},
        ),
        ("SELECT a FROM t RIGHT JOIN u USING (a)", {"a": "u.a"}),
        ("SELECT a, d FROM t FULL JOIN u USING (a)", {"a": "(t.a) (u.a)", "d": "u.d"}),
        ("SELECT b, x FROM t NATURAL JOIN v", {"b": "t.b", "x": "v.x"}),
        ("SELECT * FROM v SEMI JOIN t ON t.b = v.b", {"b": "v.b", "x": "v.x"}),
        ("SELECT * FROM v ANTI JOIN t USING (b)", {"b": "v.b", "x": "v.x"}),
        ("SELECT d, x FROM (t JOIN u ON t.a = u.a) JOIN v ON v.b = t.b", {"d": "u.d", "x": "v.x"}),
        ("SELECT b FROM t UNION ALL SELECT d FROM u UNION ALL SELECT x FROM v", {"b": "t.b u.d v.x"}),
        ("(SELECT b FROM t) UNION (SELECT d FROM u) ORDER BY b", {"b": "t.b u.d"}),
        ("SELECT b, c FROM t UNION BY NAME SELECT d AS c, e AS b FROM u", {"b": "t.b u.e", "c": "t.c u.d"}),
        ("SELECT b FROM t EXCEPT SELECT d FROM u", {"b": "t.b"}),
        ("SELECT sum(a) OVER (PARTITION BY b ORDER BY c) AS x FROM t", {"x": "[t.a] [t.b] [t.c]"}),
        ("SELECT sum(a) OVER w AS x FROM t WINDOW w AS (PARTITION BY b)", {"x": "[t.a] [t.b]"}),
        (
            "SELECT s.f AS x, t.s.f.g AS y, s['k'] AS z, (s).h AS w FROM t",
            {"x": "(t.s)", "y": "(t.s)", "z": "(t.s)", "w": "(t.s)"},
        ),
        ("SELECT {'p': a, 'q': b} AS x, struct_pack(c := l) AS y FROM t", {"x": "(t.a) (t.b)", "y": "(t.l)"}),
        ("SELECT list_transform(l, lambda a: a + b) AS x FROM t", {"x": "(t.b) (t.l)"}),
        ("SELECT [a * 2 FOR a IN l IF a > c] AS x FROM t", {"x": "(t.c) (t.l)"}),
        ("SELECT k.e FROM t CROSS JOIN unnest(t.l) AS k(e)", {"e": "(t.l)"}),
        ("SELECT unnest(l) AS e FROM t", {"e": "(t.l)"}),
        ("SELECT p FROM (SELECT unnest(s) AS x FROM t)", {"p": "(t.s)"}),
        ("SELECT p FROM (SELECT b, (unnest(l, recursive := true)) FROM t)", {"p": "(t.l)"}),
        ("SELECT unnest([a, b]) AS e FROM t UNION ALL SELECT x FROM v", {"e": "(t.a) (t.b) v.x"}),
        (
            "SELECT * EXCLUDE (t.a, s, l) RENAME (u.a AS k) FROM t JOIN u ON t.b = u.d",
            {"b": "t.b", "c": "t.c", "k": "u.a", "d": "u.d", "e": "u.e"},
        ),
        (
            "SELECT * EXCLUDE (t.a, b, c, l, s) FROM t JOIN u USING (a) UNION ALL SELECT x, x, x FROM v",
            {"a": "t.a v.x", "d": "u.d v.x", "e": "u.e v.x"},
        ),
        ("SELECT * EXCLUDE (t.a, u.a, b, c, l, s) FROM t JOIN u USING (a)", {"d": "u.d", "e": "u.e"}),
        (
            "SELECT * EXCLUDE (l, s, c) REPLACE (d + 1 AS a) FROM t JOIN u ON b = d UNION ALL SELECT b, b, x, x FROM v",
            {"a": "(u.d) v.b", "b": "t.b v.b", "d": "u.d v.x", "e": "u.e v.x"},
        ),
        ("SELECT * EXCLUDE (memory.raw.v.b) FROM v, v AS w", {"x": "v.x", "b": "v.b"}),
        ("SELECT q.x FROM t, LATERAL (SELECT t.c AS x) q", {"x": "t.c"}),
        ("SELECT q.x FROM t, (SELECT t.c AS x) q", {"x": "t.c"}),
        ("SELECT (SELECT max(d) FROM u WHERE u.a = t.a) AS x FROM t", {"x": "(t.a) (u.a) [u.d]"}),
        ("SELECT a IN (SELECT d FROM u) AS x FROM t", {"x": "(t.a) (u.d)"}),
        ("SELECT g.range AS i FROM range(10) g", {"i": ""}),
        ("SELECT z.p FROM (VALUES (1, 2)) z(p, q)", {"p": ""}),
        ("SELECT to_json(v) AS x FROM v", {"x": "(v.b) (v.x)"}),
        ("SELECT count(v.*) AS n FROM v", {"n": "(v.b) (v.x)"}),
        (
            'SELECT "A.B" AS "x.y", "q""x", "GRÜN", "select" FROM odd',
            {"x.y": "odd.a.b", 'q"x': 'odd.q"x', "GRÜN": "odd.Grün", "select": "odd.select"},
        ),
        # the schema may stand before the column, too
        ("SELECT raw.t.a, memory.raw.t.b FROM memory.raw.t", {"a": "t.a", "b": "t.b"}),
        (
            "WITH RECURSIVE r(n, m) AS (SELECT a, b FROM t UNION ALL SELECT m, n + d FROM r JOIN u ON r.m = u.a) "
            "FROM r",
            {"n": "(t.a) (t.b) (u.d)", "m": "(t.a) (t.b) (u.d)"},
        ),
    ],
)
def test_duckdb(sql, expected):
    assert lineage(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT k.e, k.n FROM t CROSS JOIN UNNEST(l) WITH ORDINALITY AS k(e, n)", {"e": "(t.l)", "n": "(t.l)"}),
        ("SELECT k.m FROM t CROSS JOIN UNNEST(s) AS k(m, w)", {"m": "(t.s)"}),
        ("SELECT CAST(ROW(a, b) AS ROW(x BIGINT, y BIGINT)).x AS x FROM t", {"x": "(t.a) (t.b)"}),
        ("SELECT transform(l, a -> a + b) AS x FROM t", {"x": "(t.b) (t.l)"}),
        ("SELECT approx_percentile(a, 0.5) AS x, arbitrary(b) AS y FROM t", {"x": "[t.a]", "y": "[t.b]"}),
        ("SELECT json_extract_scalar(s, '$.k') AS x, date_trunc('day', a) AS y FROM t", {"x": "(t.s)", "y": "(t.a)"}),
        ("SELECT x.a FROM iceberg.raw.t x", {"a": "t.a"}),
        # no alias in the same SELECT
        ("SELECT a AS x, x FROM t CROSS JOIN v", {"x": "v.x"}),
    ],
)
def test_trino(sql, expected):
    assert lineage(sql, "trino") == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a FROM t WHERE b > 1", {"t.b": "filtered"}),
        ("SELECT a FROM t JOIN u ON t.b = u.d", {"t.b": "joined", "u.d": "joined"}),
        ("SELECT a FROM t JOIN u USING (a)", {"t.a": "joined", "u.a": "joined"}),
        ("SELECT b, max(c) FROM t GROUP BY 1 HAVING max(l) > 1", {"t.b": "grouped", "t.l": "filtered"}),
        ("SELECT b, max(c) AS m FROM t GROUP BY ALL", {"t.b": "grouped"}),
        (
            "SELECT a + b AS k, mad(c) + 1 AS m, (SELECT max(d) FROM u) AS x FROM t GROUP BY ALL",
            {"t.a": "grouped", "t.b": "grouped", "u.d": "grouped"},
        ),
        ("SELECT * FROM (SELECT a, b FROM t) GROUP BY ALL", {"t.a": "grouped", "t.b": "grouped"}),
        ("SELECT b, max(c) AS m FROM t GROUP BY ROLLUP (b)", {"t.b": "grouped"}),
        ("SELECT DISTINCT a, b FROM t", {"t.a": "deduplicated", "t.b": "deduplicated"}),
        ("SELECT DISTINCT ON (c) a FROM t", {"t.c": "deduplicated"}),
        ("SELECT x FROM v WHERE COLUMNS(*) > 1", {"v.b": "filtered", "v.x": "filtered"}),
        ("SELECT x FROM v ORDER BY COLUMNS('b') LIMIT 1", {"v.b": "sorted", "v.x": "sorted"}),
        ("SELECT x FROM v JOIN (SELECT d FROM u) q ON #1 = d", {"v.b": "joined", "v.x": "joined", "u.d": "joined"}),
        ("SELECT x, unnest(range(b)) AS n FROM v", {"v.b": "joined"}),
        ("SELECT x, generate_subscripts(b, 1) AS n FROM v", {"v.b": "joined"}),
        ("SELECT x FROM v, range(b) r(g)", {"v.b": "joined"}),
        ("SELECT x FROM v CROSS JOIN unnest(b) AS k(e)", {"v.b": "joined"}),
        ("SELECT a FROM t ORDER BY c LIMIT 1", {"t.c": "sorted"}),
        ("SELECT b AS a FROM t ORDER BY a LIMIT 1", {"t.b": "sorted"}),
        (
            "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY c) = 1",
            {"t.b": "filtered", "t.c": "filtered"},
        ),
        ("SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.d = t.b)", {"t.b": "filtered", "u.d": "filtered"}),
        ("SELECT x FROM (SELECT a AS x FROM t WHERE b > 1) q", {"t.b": "filtered"}),
        ("SELECT a FROM t EXCEPT SELECT d FROM u", {"t.a": "filtered", "u.d": "filtered"}),
        ("SELECT a FROM t UNION SELECT d FROM u", {"t.a": "deduplicated", "u.d": "deduplicated"}),
        ("SELECT a FROM t UNION ALL SELECT d FROM u WHERE e > 1", {"u.e": "filtered"}),
    ],
)
def test_what_decides_about_rows(sql, expected):
    assert effects(sql) == expected


def test_tables_whose_columns_are_not_known():
    """What is read of them by name is known; which columns a star has is not."""
    assert lineage("SELECT q, z.r FROM z") == {"q": "z.q", "r": "z.r"}
    relation = analyse_sql("WITH k AS (SELECT *, 1 AS one FROM z) SELECT *, one + 1 AS two FROM k", "duckdb", tables)
    assert [column.name for column in relation.columns] == ["one", "two"]
    assert [rest.table for rest in relation.rests] == ["z"]
    assert lineage("WITH k AS (SELECT *, 1 AS one FROM z) SELECT q, one FROM k") == {"q": "z.q", "one": ""}
    assert lineage("SELECT a, b FROM t JOIN z ON t.a = z.k") == {"a": "t.a", "b": "t.b"}
    assert lineage("SELECT q FROM t JOIN z ON t.a = z.k") == {"q": "z.q"}


def test_every_aggregate_of_duckdb_is_one():
    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    with duckdb.connect() as connection:
        names = [name for (name,) in connection.sql(query).fetchall() if name.isidentifier()]
    assert len(names) > 70
    found = {
        name: next(said for call in ("(a)", "(a, b)") if (said := lineage(f"SELECT {name}{call} AS x FROM t").get("x")))
        for name in names
    }
    assert {name for name, said in found.items() if said not in ("[t.a]", "[t.a] [t.b]")} == set()
    assert lineage("SELECT histogram(a) FILTER (b > 1) AS x FROM t") == {"x": "[t.a] [t.b]"}
    assert lineage("SELECT map_agg(a, b) AS x FROM t", "trino") == {"x": "[t.a] [t.b]"}


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT q FROM z JOIN y ON true", "q may be a column of several tables"),
        ("SELECT nope FROM t", "no table that is read has a column nope"),
        ("SELECT t.nope FROM t", "no table that is read has a column t.nope"),
        ("SELECT a FROM t JOIN u ON t.a = u.d", "a is a column of several tables"),
        ("SELECT a AS k, k FROM z", "k may be a column of a table or an alias"),
        ("SELECT a FROM t UNION ALL SELECT * FROM z", "UNION goes by position"),
        ("SELECT r.a FROM read_csv('x.csv') r", "reads something that is not a table"),
        ("SELECT p.a FROM t PIVOT (sum(b) FOR c IN (1, 2)) p", "PIVOT is not supported"),
        ("SELECT k FROM (SELECT a AS k, b AS k FROM t) q", "two columns are called"),
        ("SELECT p FROM z AS q(p)", "columns are named by position"),
        ("SELECT upper(#1) AS k FROM t", "a column by its place"),
    ],
)
def test_columns_that_are_unknown_say_why(sql, reason):
    assert [value for value in lineage(sql).values() if reason in value], lineage(sql)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT sele ct FROM", "sqlglot cannot parse the SQL in line 1"),
        ("SELECT 'open", "sqlglot cannot parse the SQL"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("", "0 statements"),
        ("CREATE TABLE x AS SELECT 1", "of the kind Create"),
        ("PIVOT t ON a USING sum(b)", "not a query"),
        ("SELECT columns('x.*') FROM t", "COLUMNS"),
        ("SELECT * LIKE 'a%' FROM t", "a star with a pattern"),
        ("SELECT t.* NOT ILIKE 'a%' ESCAPE '!' FROM t", "a star with a pattern"),
        ("SELECT * GLOB 'a*' FROM t", "a star with a pattern"),
        ("SELECT * SIMILAR TO 'a.*' FROM t", "a star with a pattern"),
        ("SELECT s.* FROM t", "the fields of s are not known"),
        pytest.param("SELECT " + "(" * 5_000 + "1" + ")" * 5_000, "nested too deeply", id="deep"),
    ],
)
def test_queries_that_are_unknown_say_why(sql, reason):
    relation = analyse_sql(sql, "duckdb", tables)
    assert not relation.columns
    assert reason in relation.rests[0].value.unknown


def test_rows_that_match_a_pattern_are_unknown():
    matched = "t MATCH_RECOGNIZE (ORDER BY a MEASURES last(x.b) AS m PATTERN (x+) DEFINE x AS x.b > 1)"
    assert lineage(f"SELECT m, a FROM (SELECT * FROM {matched}) q", "trino") == dict.fromkeys(
        ("m", "a"), "unknown: MATCH_RECOGNIZE is not supported"
    )


def test_a_dialect_that_is_not_known_leaves_columns_unknown():
    relation = analyse_sql("SELECT a FROM t", "klingon", tables)
    assert relation.rests[0].value.unknown == "sqlglot does not know the dialect klingon"
    assert lineage("SELECT a FROM t", "postgres") == {"a": "t.a"}


def test_a_query_that_dbt_has_put_before_another_is_left_to_its_own_model():
    sql = "WITH __dbt__cte__v AS (SELECT a AS b, 1 AS x FROM t), k AS (SELECT x FROM __dbt__cte__v) SELECT * FROM k"
    seen = []

    def known(parts):
        seen.append(parts)
        return table_relation("model.p.v", ["b", "x"], complete=True)

    relation = analyse_sql(sql, "duckdb", known, elsewhere={"__dbt__cte__v"})
    assert [column.value.origins for column in relation.columns] == [{("model.p.v", "x"): "copied"}]
    assert seen == [["__dbt__cte__v"]]


def test_long_chains_cost_what_they_are_long():
    union = " UNION ALL ".join("SELECT a, b FROM t" for _ in range(400))
    assert lineage(union) == {"a": "t.a", "b": "t.b"}
    chain = ", ".join(f"c{n} AS (SELECT a + 1 AS a, b FROM {f'c{n - 1}' if n else 't'})" for n in range(400))
    assert lineage(f"WITH {chain} SELECT * FROM c399") == {"a": "(t.a)", "b": "t.b"}
    # with aliases put in place of each other, this would have 2 ** 200 terms
    doubled = ", ".join(f"x{n - 1} + x{n - 1} AS x{n}" for n in range(1, 200))
    assert lineage(f"SELECT a AS x0, {doubled} FROM t")["x199"] == "(t.a)"
    deep = " + ".join(["a"] * 2_000)
    assert lineage(f"SELECT {deep} AS x FROM t") == {"x": "(t.a)"}
    wide = ", ".join(f"a AS x{n}" for n in range(5_000))
    assert len(lineage(f"SELECT * FROM (SELECT {wide} FROM t) q")) == 5_000
