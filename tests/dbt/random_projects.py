"""
Random dbt projects and their histories: what each run finds in the project's folder, and how dbt is called.

Data are in the models' own SQL, so that they come in any type that DuckDB has.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_phlo.sql import quote_identifier

#: types whose values the catalog holds, with values; NULL is one of each
KINDS: Mapping[str, Sequence[str]] = {
    "BOOLEAN": ("true", "false"),
    "TINYINT": ("-128", "127", "0"),
    "SMALLINT": ("-32768", "32767"),
    "INTEGER": ("-2147483648", "2147483647", "0"),
    "BIGINT": ("'-9223372036854775808'", "9223372036854775807", "0"),
    "UTINYINT": ("0", "255"),
    "USMALLINT": ("0", "65535"),
    "UINTEGER": ("0", "4294967295"),
    "UBIGINT": ("0", "9223372036854775807"),
    "HUGEINT": ("0", "'99999999999999999999999999999999999999'", "'-99999999999999999999999999999999999999'"),
    "FLOAT": ("'nan'", "'inf'", "'-inf'", "-0.0", "0.0", "0.1"),
    "DOUBLE": ("'nan'", "'inf'", "'-inf'", "'-0.0'", "0.0", "0.1", "1e300"),
    "DECIMAL(4,1)": ("0", "999.9", "-999.9"),
    "DECIMAL(18,3)": ("0.001", "999999999999999.999"),
    "DECIMAL(38,0)": ("0", "'99999999999999999999999999999999999999'"),
    "DECIMAL(38,10)": ("0.0000000001", "'9999999999999999999999999999.9999999999'"),
    "VARCHAR": ("''", "'a'", "'A'", "'O''Neil'", "'名前'", "' '", "'x' || chr(10) || 'y'", "'NULL'", "'{\"a\": 1}'"),
    "BLOB": ("''", "'\\x00\\xff'", "'abc'"),
    "UUID": ("'00000000-0000-0000-0000-000000000000'", "'eeccb8c5-9943-b2bb-bb5e-222f4e14b687'"),
    "JSON": ("'{\"a\": [1, null]}'", "'\"\"'", "'null'"),
    "ENUM('a', 'b''c')": ("'a'", "'b''c'"),
    "DATE": ("'0001-01-01'", "'1969-12-31'", "'2024-02-29'", "'9999-12-31'"),
    "TIME": ("'00:00:00'", "'23:59:59.999999'"),
    "TIMESTAMP": ("'0001-01-01 00:00:00'", "'1969-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999999'"),
    "TIMESTAMP_S": ("'1969-12-31 23:59:59'", "'2024-01-15 01:02:03'"),
    "TIMESTAMP_MS": ("'1969-12-31 23:59:59.999'", "'2024-01-15 01:02:03.004'"),
    "TIMESTAMP_NS": ("'1969-12-31 23:59:59.999999'", "'2024-01-15 01:02:03.004'"),
    "TIMESTAMPTZ": ("'1969-12-31 23:59:59.999999+00'", "'2024-03-31 02:30:00+02'"),
    "INTEGER[]": ("[]", "[1, NULL, 2]", "[NULL]"),
    "VARCHAR[][]": ("[]", "[[]]", "[['', NULL], NULL, ['a']]"),
    "INTEGER[2]": ("[1, 2]", "[NULL, 3]"),
    'STRUCT(a INTEGER, "B c" VARCHAR)': ("{'a': 1, 'B c': 'x'}", "{'a': NULL, 'B c': NULL}", "{'a': NULL, 'B c': ''}"),
    "STRUCT(x STRUCT(y DECIMAL(9,2)[])[])": (
        "{'x': []}",
        "{'x': [{'y': [1.5, NULL]}, NULL, {'y': []}]}",
        "{'x': NULL}",
    ),
    "MAP(VARCHAR, INTEGER)": ("map {}", "map {'a': 1, '': NULL}"),
    "MAP(INTEGER, STRUCT(u UUID, t TIME)[])": (
        "map {}",
        "map {1: [{'u': '00000000-0000-0000-0000-000000000000', 't': '01:02:03'}, NULL], 2: NULL}",
    ),
    "UUID[]": ("[]", "['00000000-0000-0000-0000-000000000000', NULL]"),
    "STRUCT(e ENUM('p', 'q'), n TINYINT)": ("{'e': 'p', 'n': 1}", "{'e': NULL, 'n': NULL}"),
    "TIMESTAMP_MS[]": ("[]", "['1969-12-31 23:59:59.999', NULL]"),
    "BLOB[]": ("[]", "['\\xff', NULL]"),
    "DATE[]": ("[]", "['1969-12-31', NULL]"),
    "DOUBLE[]": ("['nan', '-0.0', NULL]", "[]"),
}
#: types and values that are refused by name
REFUSED: Mapping[str, Sequence[str]] = {
    "INTERVAL": ("'1 month'",),
    "BIT": ("'101'",),
    "TIMETZ": ("'01:02:03+02'",),
    "UNION(a INTEGER, b VARCHAR)": ("1", "'x'"),
    "UHUGEINT": ("1",),
    "STRUCT(i INTERVAL)[]": ("[{'i': '1 month'}]",),
    "MAP(VARCHAR, BIT)": ("map {'a': '1'}",),
    "TIMESTAMP_NS": ("'2024-01-15 01:02:03.004005006'",),
    "HUGEINT": ("'170141183460469231731687303715884105727'",),
    "UBIGINT": ("18446744073709551615",),
    "DATE": ("'infinity'", "'10000-01-01'", "'0001-01-01 (BC)'"),
    "TIMESTAMP": ("'infinity'", "'-infinity'", "'10000-01-01'"),
}
NAMES = (
    *(
        "v",
        "Order Id",
        'sel"ect',
        "group",
        "名前",
        "_x",
        "Straße",
        "UPPER",
        "a.b",
        "it's",
        "%(a)s",
        "1st",
        "date",
        "a-b",
    ),
    *("order", "İ", "x" * 60, "__y", "é", "value", "key", "timestamp", "$p", "#h", "a/b", "c:d", "e;f", "{g}", "true"),
)
#: what a column may become, and whether Iceberg widens it
RETYPED = {
    "INTEGER": ("BIGINT", "VARCHAR", "DOUBLE", "DECIMAL(18,3)"),
    "FLOAT": ("DOUBLE", "VARCHAR"),
    "BIGINT": ("INTEGER", "VARCHAR", "HUGEINT"),
    "DECIMAL(4,1)": ("DECIMAL(18,3)", "DOUBLE"),
    "DATE": ("TIMESTAMP", "VARCHAR"),
    "VARCHAR": ("BLOB",),
    "TINYINT": ("BIGINT",),
    "TIMESTAMP": ("TIMESTAMPTZ", "DATE"),
}
KEYED = ("INTEGER", "BIGINT", "VARCHAR", "DATE", "TIMESTAMP", "DECIMAL(18,3)", "BOOLEAN", "UUID", "TINYINT", "DOUBLE")
ON_SCHEMA_CHANGE = ("append_new_columns", "sync_all_columns", "ignore", "fail")
CONSTRAINTS: Sequence[Mapping[str, str]] = (
    {},
    *({"type": kind} for kind in ("not_null", "unique", "primary_key")),
    {"type": "check", "expression": "id < 6"},
)
HOOKS = (
    "update {{ this }} set id = id + 100 where id = 1",
    "delete from {{ this }} where id = 2",
    "insert into {{ this }} by name select 1000 as id where not exists (select 1 from {{ this }} where id = 1000)",
    "alter table {{ this }} add column if not exists later integer",
    "create or replace view {{ target.schema }}.seen_NAME as select id from {{ this }} where id > 2",
)
LOG = "create table if not exists {{ target.schema }}.log_NAME (model varchar not null, n bigint, v integer default 7)"
LOGGED = "insert into {{ target.schema }}.log_NAME (model, n) select '{{ this.identifier }}', count(*) from {{ this }}"
SEEDED = (
    ("1", "2", ""),
    ("1.5", "2", ""),
    ("true", "false", ""),
    ("2024-01-15", ""),
    *(("", "a", "O'Neil", '"x, y"', "1", "2.5", "true", "名前", " b ", "007", "NULL", '"""q"""', "1e3", "-0"),) * 2,
)


_NONE = "NULL"
_KEY = "id"
# columns of a snapshot that say when it was taken
_TIMES = ("dbt_updated_at", "dbt_valid_from", "dbt_scd_id")


@dataclass(frozen=True)
class Column:
    """A column; its values are SQL."""

    name: str
    kind: str
    values: tuple[str, ...]

    @property
    def sql(self) -> str:
        return quote_identifier(self.name)


def column_of(name: str, kind: str) -> Column:
    return Column(name, kind, tuple(KINDS[kind]))


@dataclass
class Rows:
    """Columns, and rows by the names of these."""

    columns: list[Column]
    rows: list[dict[str, str]]

    def select(self) -> str:
        """Return a query of the rows; Jinja sees none of it."""
        names = ", ".join(each.sql for each in self.columns)
        lines = [self._line(row) for row in self.rows] or [self._line({})]
        empty = "" if self.rows else " where false"
        return f"{{% raw %}}select * from (values {', '.join(lines)}) as t({names}){empty}{{% endraw %}}"

    def _line(self, row: Mapping[str, str]) -> str:
        return f"({', '.join(f'CAST({row.get(each.name, _NONE)} AS {each.kind})' for each in self.columns)})"

    def copy(self) -> Rows:
        return Rows(list(self.columns), [dict(row) for row in self.rows])


@dataclass
class Step:
    """A run: the project's files as they are then, and how dbt is called."""

    files: dict[str, str]
    arguments: list[str]


@dataclass
class Model:
    """
    A node.

    :param relation: its ``schema.name``.
    :param texts: its file, by step.
    :param reads: the nodes that it reads.
    :param properties: what YAML says of it, by step.
    :param clocks: columns whose values are times of the run.
    :param note: what it is, for whoever reads of a difference.
    """

    name: str
    path: str
    relation: str
    texts: list[str]
    note: str
    reads: set[str] = field(default_factory=set)
    properties: list[dict[str, Any]] = field(default_factory=list)
    section: str = "models"
    is_view: bool = False
    clocks: tuple[str, ...] = ()
    series: list[Rows] | None = None


@dataclass
class History:
    """Runs of a project that changes between them."""

    models: list[Model]
    arguments: list[list[str]]

    def only(self, name: str) -> History:
        """Return the history with a node and what it reads: a difference in a small project."""
        wanted: set[str] = set()
        todo = {name}
        while todo:
            wanted |= todo
            todo = {parent for each in self.models if each.name in wanted for parent in each.reads} - wanted
        return History([each for each in self.models if each.name in wanted], self.arguments)

    def steps(self) -> Iterator[Step]:
        for at, arguments in enumerate(self.arguments):
            sections: dict[str, list[Any]] = {}
            for model in self.models:
                if model.properties:
                    sections.setdefault(model.section, []).append({"name": model.name, **model.properties[at]})
            files = {model.path: model.texts[at] for model in self.models}
            files["models/properties.yml"] = json.dumps({"version": 2, **sections})
            yield Step({"dbt_project.yml": "name: shop\nprofile: shop\n", **files}, arguments)


class Writer:
    """Writes one history of a number of runs."""

    def __init__(self, seed: int, models: int = 5, steps: int = 4) -> None:
        self.random = random.Random(seed)
        self.count, self.length = models, steps
        self.models: list[Model] = []

    def history(self) -> History:
        makers = (
            *(self.base, self.derived, self.seed, self.snapshot, self.python, self.contract, self.hooked),
            *(self.incremental,) * 4,
        )
        for at in range(self.count):
            self.models.append(self.random.choice(makers)(f"m{at}"))
        return History(self.models, [self._arguments() if at else [] for at in range(self.length)])

    def _arguments(self) -> list[str]:
        words = ["--full-refresh"] if self._maybe(0.15) else []
        if self._maybe(0.2):
            name = self.random.choice(self.models).name
            words += ["--select", self.random.choice(("", "+")) + name + self.random.choice(("", "+"))]
        return words

    def _maybe(self, share: float) -> bool:
        return self.random.random() < share

    # data, and what becomes of them

    def _value(self, column: Column) -> str:
        return _NONE if self._maybe(0.2) else self.random.choice(column.values)

    def _row(self, columns: Sequence[Column], key: int) -> dict[str, str]:
        return {each.name: str(key) if each.name == _KEY else self._value(each) for each in columns}

    def _start(self, *more: Column) -> Rows:
        names = self.random.sample(NAMES, self.random.randint(1, 4))
        columns = [Column(_KEY, "BIGINT", ()), *(column_of(name, self._kind()) for name in names)]
        if self._maybe(0.3):
            self.random.shuffle(columns)
        columns += more
        count = 0 if self._maybe(0.1) else self.random.randint(1, 6)
        return Rows(columns, [self._row(columns, at + 1) for at in range(count)])

    def _kind(self) -> str:
        return self.random.choice(list(KINDS))

    def _series(self, rows: Rows, shapes: float = 0.0) -> list[Rows]:
        """Return rows as they are in each run."""
        found = [rows]
        while len(found) < self.length:
            new = self._later(found[-1]) if self._maybe(0.8) else found[-1].copy()
            if self._maybe(shapes):
                new = self._reshaped(new)
            found.append(Rows(new.columns, []) if self._maybe(0.05) else new)
        return found

    def _later(self, rows: Rows) -> Rows:
        """Return rows some time later: some changed, gone, new."""
        kept = [dict(row) for row in rows.rows if not self._maybe(0.2)]
        for row in kept:
            row.update({each.name: self._value(each) for each in rows.columns if each.values and self._maybe(0.3)})
        top = max([int(row[_KEY]) for row in rows.rows], default=0)
        kept += [self._row(rows.columns, top + at + 1) for at in range(self.random.randint(0, 3))]
        self.random.shuffle(kept)
        return Rows(list(rows.columns), kept)

    def _reshaped(self, rows: Rows) -> Rows:
        """Return rows with a column more, one less, one of another type, or in another order."""
        new = rows.copy()
        for change in self.random.choice(
            ((self._add,), (self._drop,), (self._retype,), (self._reorder,), (self._add, self._drop))
        ):
            change(new)
        return new

    def _add(self, rows: Rows) -> None:
        taken = {each.name.lower() for each in rows.columns}
        new = column_of(self.random.choice([name for name in NAMES if name.lower() not in taken]), self._kind())
        rows.columns.insert(self.random.randint(0, len(rows.columns)), new)
        for row in rows.rows:
            row[new.name] = self._value(new)

    def _drop(self, rows: Rows) -> None:
        others = [each for each in rows.columns if each.name != _KEY]
        if len(others) > 1:
            rows.columns.remove(self.random.choice(others))

    def _retype(self, rows: Rows) -> None:
        able = [each for each in rows.columns if each.kind in RETYPED and each.name != _KEY]
        if able:
            old = self.random.choice(able)
            new = column_of(old.name, self.random.choice(RETYPED[old.kind]))
            rows.columns[rows.columns.index(old)] = new
            for row in rows.rows:
                row[new.name] = self._value(new)

    def _reorder(self, rows: Rows) -> None:
        self.random.shuffle(rows.columns)

    # configurations and tests

    def _config(self, options: Mapping[str, Any]) -> str:
        return f"{{{{ config({', '.join(f'{name}={value!r}' for name, value in options.items())}) }}}}\n"

    def _place(self, name: str) -> dict[str, str]:
        options = {}
        if self._maybe(0.15):
            options["alias"] = self.random.choice((f"Odd {name}", f"{name}_é", name.upper()))
        if self._maybe(0.15):
            options["schema"] = self.random.choice(("extra", "Extra_2"))
        return options

    def _model(self, name: str, options: Mapping[str, Any], texts: list[str], **more: Any) -> Model:
        schema = f"main_{options['schema']}" if "schema" in options else "main"
        relation = f"{schema}.{options.get('alias', name)}"
        is_view = options["materialized"] == "view"
        return Model(name, f"models/{name}.sql", relation, texts, str(dict(options)), is_view=is_view, **more)

    def _tests(self, columns: Sequence[Column]) -> list[dict[str, Any]]:
        """Return properties, by step, with tests on some columns."""
        chosen = [each for each in columns if self._maybe(0.6)]
        found = [{"name": each.name, "quote": True, "data_tests": [self._test(each)]} for each in chosen]
        return [{"columns": found}] * self.length

    def _test(self, column: Column) -> dict[str, Any]:
        config: dict[str, Any] = {"severity": self.random.choice(("warn", "warn", "error"))}
        for option, values in {
            "where": ("id > 2", "id is not null", "1 = 0"),
            "limit": (1, 2),
            "store_failures": (True,),
            "error_if": (">1", ">3", "!=2"),
        }.items():
            if self._maybe(0.2):
                config[option] = self.random.choice(values)
        if column.kind in ("VARCHAR", "BIGINT") and self._maybe(0.4):
            is_text = column.kind == "VARCHAR"
            accepted: dict[str, Any] = {"values": ["a", "1"] if is_text else [1, 2, 3], "quote": is_text}
            return {"accepted_values": {"arguments": accepted, "config": config}}
        return {self.random.choice(("not_null", "unique")): {"config": config}}

    # nodes

    def base(self, name: str) -> Model:
        """Return a table, view or ephemeral model of values; a table's may be of a type that is refused."""
        options: dict[str, Any] = {"materialized": self.random.choice(("table", "table", "view", "ephemeral"))}
        more: list[Column] = []
        if options["materialized"] == "table" and self._maybe(0.15):
            kind = self.random.choice(list(REFUSED))
            more.append(Column("refused", kind, tuple(REFUSED[kind])))
        if options["materialized"] != "ephemeral":
            options |= self._place(name)
        series = self._series(self._start(*more), 0.3)
        texts = [self._config(options) + rows.select() for rows in series]
        properties = self._tests(series[0].columns) if self._maybe(0.4) else []
        return self._model(name, options, texts, series=series, properties=properties)

    def _parent(self, *, with_table: bool = False) -> Model | None:
        found = [each for each in self.models if each.series and not (with_table and "ephemeral" in each.note)]
        return self.random.choice(found) if found else None

    def derived(self, name: str) -> Model:
        """Return a model of another."""
        parent = self._parent()
        if parent is None:
            return self.base(name)
        options: dict[str, Any] = {"materialized": self.random.choice(("table", "table", "view", "incremental"))}
        sql = f"select * from {{{{ ref('{parent.name}') }}}}"
        sql += self.random.choice(("", " where id > 2", " where id % 2 = 0"))
        if options["materialized"] == "incremental":
            options |= {"unique_key": _KEY, "incremental_strategy": self.random.choice(("merge", "delete+insert"))}
            options["on_schema_change"] = self.random.choice(ON_SCHEMA_CHANGE)
            if self._maybe(0.5):
                sql += "{% if is_incremental() %} qualify id >= (select max(id) from {{ this }}){% endif %}"
        options |= self._place(name)
        return self._model(name, options, [self._config(options) + sql] * self.length, reads={parent.name})

    def incremental(self, name: str) -> Model:
        options: dict[str, Any] = {"materialized": "incremental"}
        if strategy := self.random.choice(("append", "delete+insert", "merge", "merge", None)):
            options["incremental_strategy"] = strategy
        second = column_of(self.random.choice(("k", "Key 2", "K")), self.random.choice(KEYED))
        start = self._start(*([second] if self._maybe(0.3) else []))
        has_second = second in start.columns
        if strategy != "append" and self._maybe(0.85):
            options["unique_key"] = [_KEY, second.sql] if has_second else self.random.choice((_KEY, [_KEY]))
            options |= self._options_of_keys(strategy, [each for each in start.columns if each.values], second)
        if self._maybe(0.7):
            options["on_schema_change"] = self.random.choice(ON_SCHEMA_CHANGE)
        if self._maybe(0.3):
            options["partition_by"] = self.random.choice(("bucket(3, id)", "id", "truncate(2, id)"))
        options |= self._place(name)
        series, texts = self._series(start, 0.4), []
        properties = self._tests(start.columns) if self._maybe(0.3) else []
        for rows in series:
            for row in rows.rows:  # NULL in a key is a value of it, which dbt-duckdb does not know
                if row.get(second.name) == _NONE:
                    row[second.name] = self.random.choice(second.values)
            some = Rows(rows.columns, self.random.sample(rows.rows, self.random.randint(0, len(rows.rows))))
            branches = f"{{% if is_incremental() %}}{some.select()}{{% else %}}{rows.select()}{{% endif %}}"
            texts.append(self._config(options) + branches)
            if self._maybe(0.1):  # the model is edited
                options["materialized"] = self.random.choice(("table", "incremental", "view"))
        return self._model(name, {**options, "materialized": "incremental"}, texts, properties=properties)

    def _options_of_keys(self, strategy: str | None, columns: list[Column], second: Column) -> dict[str, Any]:
        options: dict[str, Any] = {}
        others = [each for each in columns if each.name != second.name]
        if strategy == "merge":
            if others and self._maybe(0.4):
                one = self.random.choice(others)
                # dbt compares the one with names, and puts the other into SQL
                options |= self.random.choice(
                    ({"merge_exclude_columns": [one.name]}, {"merge_update_columns": [one.sql]})
                )
            if self._maybe(0.3):
                options["incremental_predicates"] = [
                    self.random.choice(("DBT_INTERNAL_DEST.id > 2", "DBT_INTERNAL_SOURCE.id > 2"))
                ]
        elif strategy and self._maybe(0.3):
            options["incremental_predicates"] = [
                self.random.choice(("DBT_INCREMENTAL_TARGET.id > 2", "DBT_INCREMENTAL_TARGET.id < 4"))
            ]
        return options

    def seed(self, name: str) -> Model:
        columns = [_KEY, *self.random.sample(NAMES, 3)]
        values = self.random.choice(SEEDED)
        texts: list[str] = []
        for _ in range(self.length):
            if texts and self._maybe(0.5):
                texts.append(texts[-1])
                continue
            lines = [",".join(quote_identifier(each) for each in columns)]
            for key in range(self.random.randint(1, 5)):
                lines.append(",".join([str(key), *(self.random.choice(values) for _ in columns[1:])]))
            texts.append("\n".join(lines) + "\n")
        # made anew in each run, as the adapter does: dbt-duckdb keeps the types of the first
        options: dict[str, Any] = {"full_refresh": True}
        if self._maybe(0.3):
            options["column_types"] = {columns[1]: "varchar"}
        if self._maybe(0.3):
            options["quote_columns"] = True
        properties = [{"config": options}] * self.length
        return Model(name, f"seeds/{name}.csv", f"main.{name}", texts, "seed", section="seeds", properties=properties)

    def snapshot(self, name: str) -> Model:
        options: dict[str, Any] = {"unique_key": _KEY, "strategy": self.random.choice(("timestamp", "check"))}
        series = self._series(self._start(Column("updated_at", "TIMESTAMP", (_NONE,))))
        for at, rows in enumerate(series):
            for row in rows.rows:
                if row["updated_at"] == _NONE or self._maybe(0.6):
                    row["updated_at"] = f"'2024-01-{at + 1:02} 00:00:00'"
        if self._maybe(0.3):
            self._add_to_last(series)
        if options["strategy"] == "timestamp":
            options["updated_at"] = "updated_at"
        else:
            options["check_cols"] = "all"
        deletes = self.random.choice(("ignore", "invalidate", "new_record"))
        options["hard_deletes"] = deletes
        clocks = _TIMES if options["strategy"] == "check" or deletes == "new_record" else ()
        clocks += ("dbt_valid_to",) if clocks or deletes == "invalidate" else ()
        if self._maybe(0.3):
            options["dbt_valid_to_current"] = "cast('9999-12-31' as timestamp)"
        if self._maybe(0.2):
            names = {"dbt_valid_from": "from_", "dbt_valid_to": "to_"}
            options["snapshot_meta_column_names"] = names
            clocks = tuple(names.get(each, each) for each in clocks)
        config = self._config({"target_schema": "snaps", **options})
        texts = [f"{{% snapshot {name} %}}\n{config}{rows.select()}\n{{% endsnapshot %}}\n" for rows in series]
        return Model(name, f"snapshots/{name}.sql", f"snaps.{name}", texts, str(options), clocks=clocks)

    def _add_to_last(self, series: list[Rows]) -> None:
        new = column_of("added", self._kind())
        for rows in series[-2:]:
            rows.columns = [*rows.columns, new]
            for row in rows.rows:
                row[new.name] = self._value(new)

    def python(self, name: str) -> Model:
        parent = self._parent(with_table=True)
        if parent is None:
            return self.base(name)
        how = self.random.choice(("", ".arrow()", ".filter('id > 2')", ".to_arrow_table()"))
        materialized = self.random.choice(("table", "incremental"))
        text = f"dbt.config(materialized='{materialized}', unique_key='id')\n    return dbt.ref('{parent.name}'){how}\n"
        texts = [f"def model(dbt, session):\n    {text}"] * self.length
        return Model(name, f"models/{name}.py", f"main.{name}", texts, f"python {materialized}", {parent.name})

    def contract(self, name: str) -> Model:
        series = self._series(self._start())
        constraint = self.random.choice(CONSTRAINTS)
        properties = []
        for rows in series:
            columns: list[dict[str, Any]] = [
                {"name": each.name, "quote": True, "data_type": each.kind} for each in rows.columns
            ]
            if constraint:
                next(each for each in columns if each["name"] == _KEY)["constraints"] = [constraint]
            properties.append({"config": {"contract": {"enforced": True}}, "columns": columns})
        options: dict[str, Any] = {"materialized": self.random.choice(("table", "incremental"))}
        if options["materialized"] == "incremental":
            options |= self._of_increments()
            options["on_schema_change"] = self.random.choice(("append_new_columns", "fail"))
        texts = [self._config(options) + rows.select() for rows in series]
        return self._model(name, options, texts, properties=properties)

    def _of_increments(self) -> dict[str, Any]:
        strategy = self.random.choice(("merge", "delete+insert", "append"))
        return {"unique_key": _KEY, "incremental_strategy": strategy}

    def hooked(self, name: str) -> Model:
        options: dict[str, Any] = {"materialized": self.random.choice(("table", "table", "incremental"))}
        hooks = self.random.sample(HOOKS, self.random.randint(1, 2))
        if options["materialized"] == "incremental":
            options |= self._of_increments()
            options["on_schema_change"] = "append_new_columns"
        options["post_hook"] = [each.replace("NAME", name) for each in hooks]
        if self._maybe(0.5):
            options["pre_hook"] = LOG.replace("NAME", name)
            options["post_hook"].append(LOGGED.replace("NAME", name))
        texts = [self._config(options) + rows.select() for rows in self._series(self._start())]
        return self._model(name, options, texts)
