"""Random queries whose lineage is known while they are written."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

Origin = tuple[str, str]

TABLES = {
    "raw.t1": ["a", "b", "c"],
    "raw.t2": ["a", "d", 'we"ird.x'],
    "raw.t3": ["Upper", "e"],
}


@dataclass
class Col:
    name: str
    origins: set[Origin]


@dataclass
class Rel:
    """A query, its columns, and the columns that decide about its rows."""

    sql: str
    cols: list[Col]
    effects: set[Origin] = field(default_factory=set)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Writer:
    """Writes queries. Names of columns are unique in each of them, so that every query is valid."""

    def __init__(self, seed: int, dialect: str) -> None:
        self.random = random.Random(seed)
        self.dialect = dialect
        self.count = 0
        self.ctes: list[tuple[str, Rel]] = []

    def fresh(self) -> str:
        self.count += 1
        odd = self.random.random() < 0.1
        return f'n {self.count}."x' if odd else f"n{self.count}"

    def statement(self) -> Rel:
        """Write a query with up to two CTEs."""
        for _ in range(self.random.randrange(3)):
            body = self.query(2)
            name = self.fresh()
            self.ctes.append((name, body))
        rel = self.query(3)
        if not self.ctes:
            return rel
        ctes = ", ".join(f"{quoted(name)} AS ({body.sql})" for name, body in self.ctes)
        return Rel(f"WITH {ctes} {rel.sql}", rel.cols, rel.effects)

    def query(self, depth: int) -> Rel:
        kinds: list[Callable[[int], Rel]] = [self.select] * 6
        if depth:
            kinds += [self.set_operation, self.set_operation, self.aggregate, self.aggregate, self.star]
        return self.random.choice(kinds)(depth)

    # --- what is read

    def table(self) -> Rel:
        name = self.random.choice(list(TABLES))
        columns = [Col(column, {(name, column)}) for column in TABLES[name]]
        if self.ctes and self.random.random() < 0.5:
            cte, body = self.random.choice(self.ctes)
            return Rel(quoted(cte), body.cols, body.effects)
        return Rel(name, columns)

    def source(self, depth: int) -> tuple[str, list[tuple[str, Col]], set[Origin]]:
        """Write a FROM clause; return it, its columns with their qualifiers, and what decides about rows."""
        parts, columns, effects = [], [], set()
        for number in range(self.random.choice([1, 1, 2]) if depth else 1):
            inner = self.query(depth - 1) if depth and self.random.random() < 0.4 else self.table()
            alias = self.fresh()
            sql = f"({inner.sql})" if inner.sql.startswith(("SELECT", "(")) else inner.sql
            here = [(quoted(alias), column) for column in inner.cols]
            effects |= inner.effects
            item = f"{sql} AS {quoted(alias)}"
            if number:
                (left_alias, left), (right_alias, right) = self.random.choice(columns), self.random.choice(here)
                kind = self.random.choice(["JOIN", "LEFT JOIN", "FULL JOIN"])
                on = f"{left_alias}.{quoted(left.name)} = {right_alias}.{quoted(right.name)}"
                effects |= left.origins | right.origins
                item = f"{kind} {item} ON {on}"
            parts.append(item)
            columns += here
        return " ".join(parts), columns, effects

    # --- expressions

    def reference(self, columns: list[tuple[str, Col]]) -> tuple[str, set[Origin]]:
        alias, column = self.random.choice(columns)
        names = [each.name.lower() for _, each in columns]
        bare = names.count(column.name.lower()) == 1 and self.random.random() < 0.5
        name = quoted(column.name)
        if column.name.isalnum() and self.random.random() < 0.5:
            name = self.random.choice([column.name, column.name.upper(), column.name.lower()])
        return (name if bare else f"{alias}.{name}"), set(column.origins)

    def expression(self, columns: list[tuple[str, Col]], depth: int = 2) -> tuple[str, set[Origin]]:
        if not depth or self.random.random() < 0.3:
            return self.reference(columns)
        first, origins = self.expression(columns, depth - 1)
        second, more = self.expression(columns, depth - 1)
        trino = self.dialect == "trino"
        struct = f"CAST(ROW({first}) AS ROW(f INTEGER)).f" if trino else f"struct_pack(f := {first}).f"
        forms = [
            (f"({first} + {second})", origins | more),
            (f"coalesce({first}, {second})", origins | more),
            (f"CASE WHEN {first} > 2 THEN {second} ELSE 0 END", origins | more),
            (f"CAST({first} AS BIGINT)", origins),
            (struct, origins),
            (f"abs({first})", origins),
            ("1", set()),
            (f"sum({first}) OVER (PARTITION BY {second} ORDER BY {second})", origins | more),
        ]
        if self.dialect == "duckdb":
            forms.append((f"list_transform([{first}], lambda z: z + {second})[1]", origins | more))
            forms.append((f"[z + 1 FOR z IN [{first}] IF z > {second}][1]", origins | more))
        return self.random.choice(forms[:-3] if "OVER" in first + second else forms)

    def condition(self, columns: list[tuple[str, Col]]) -> tuple[str, set[Origin]]:
        first, origins = self.reference(columns)
        second, more = self.reference(columns)
        alias, outer = self.random.choice(columns)
        # qualified: in the subquery a bare name may be another column
        around = f"{alias}.{quoted(outer.name)}"
        name = self.random.choice(list(TABLES))
        column = TABLES[name][0]
        inner = {(name, column)}
        return self.random.choice(
            [
                (f"{first} > {second}", origins | more),
                (f"{first} IS NOT NULL", origins),
                (f"{first} IN (SELECT {quoted(column)} FROM {name})", origins | inner),
                (f"EXISTS (SELECT 1 FROM {name} zz WHERE zz.{quoted(column)} = {around})", outer.origins | inner),
            ]
        )

    # --- queries

    def outputs(self, columns: list[tuple[str, Col]]) -> tuple[str, list[Col]]:
        texts, cols = [], []
        for _ in range(self.random.randrange(1, 4)):
            text, origins = self.expression(columns)
            name = self.fresh()
            texts.append(f"{text} AS {quoted(name)}")
            cols.append(Col(name, origins))
        return ", ".join(texts), cols

    def select(self, depth: int) -> Rel:
        source, columns, effects = self.source(depth)
        outputs, cols = self.outputs(columns)
        where = ""
        if self.random.random() < 0.4:
            condition, origins = self.condition(columns)
            where = f" WHERE {condition}"
            effects |= origins
        distinct = ""
        if self.random.random() < 0.2:
            distinct = "DISTINCT "
            effects |= {origin for col in cols for origin in col.origins}
        order = ""
        if self.random.random() < 0.2:
            # by all columns: which of equal rows stay would be chance
            order = f" ORDER BY {', '.join(str(number + 1) for number in range(len(cols)))} LIMIT 3"
            effects |= {origin for col in cols for origin in col.origins}
        return Rel(f"SELECT {distinct}{outputs} FROM {source}{where}{order}", cols, effects)

    def aggregate(self, depth: int) -> Rel:
        source, columns, effects = self.source(depth)
        key, key_origins = self.reference(columns)
        value, origins = self.reference(columns)
        names = [self.fresh() for _ in range(3)]
        function = self.random.choice(["sum", "max", "count"])
        by = self.random.choice([key, "1"])
        cols = [Col(names[0], key_origins), Col(names[1], origins), Col(names[2], set())]
        having = f" HAVING max({value}) > 1" if self.random.random() < 0.3 else ""
        effects |= key_origins | (origins if having else set())
        sql = (
            f"SELECT {key} AS {quoted(names[0])}, {function}({value}) AS {quoted(names[1])}, "
            f"count(*) AS {quoted(names[2])} FROM {source} GROUP BY {by}{having}"
        )
        return Rel(sql, cols, effects)

    def star(self, depth: int) -> Rel:
        """Select everything from a subquery, with a column left out, replaced or added."""
        inner = self.query(depth - 1)
        cols = [Col(col.name, set(col.origins)) for col in inner.cols]
        star = "*"
        if self.dialect == "duckdb":
            choice = self.random.randrange(3)
            chosen = self.random.choice(cols)
            if choice == 0 and len(cols) > 1:
                star, cols = f"* EXCLUDE ({quoted(chosen.name)})", [col for col in cols if col is not chosen]
            elif choice == 1:
                other = self.random.choice(cols)
                star = f"* REPLACE ({quoted(other.name)} + 1 AS {quoted(chosen.name)})"
                chosen.origins = set(next(col.origins for col in inner.cols if col.name == other.name))
        alias, name = self.fresh(), self.fresh()
        chosen = self.random.choice(inner.cols)
        sql = f"SELECT {star}, {quoted(chosen.name)} AS {quoted(name)} FROM ({inner.sql}) AS {quoted(alias)}"
        return Rel(sql, [*cols, Col(name, set(chosen.origins))], set(inner.effects))

    def set_operation(self, depth: int) -> Rel:
        left, right = self.query(depth - 1), self.query(depth - 1)
        width = min(len(left.cols), len(right.cols))
        left, right = self.narrowed(left, width), self.narrowed(right, width)
        kind = self.random.choice(["UNION ALL", "UNION", "EXCEPT", "INTERSECT"])
        effects = left.effects | right.effects
        everything = {origin for col in (*left.cols, *right.cols) for origin in col.origins}
        if kind.startswith("UNION"):
            pairs = zip(left.cols, right.cols, strict=True)
            cols = [Col(first.name, first.origins | second.origins) for first, second in pairs]
            effects |= everything if kind == "UNION" else set()
        else:
            cols, effects = left.cols, effects | everything
        return Rel(f"SELECT * FROM ({left.sql}) l {kind} SELECT * FROM ({right.sql}) r", cols, effects)

    def narrowed(self, rel: Rel, width: int) -> Rel:
        cols = rel.cols[:width]
        names = ", ".join(quoted(col.name) for col in cols)
        return Rel(f"SELECT {names} FROM ({rel.sql}) q", cols, rel.effects)
