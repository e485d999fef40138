"""
A merge as SQL: what becomes of each staged row, the one MERGE statement, and the table as that would leave it.

Trino runs the statement; DuckDB shows the audit what it will do. Both run the same text, except for the name of one
function, so that the audit sees exactly what the merge then makes.

Keys are equal as everywhere in this package: NaN equals NaN, -0.0 equals 0.0, NULL equals nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pyiceberg.table import Table
from pyiceberg.types import BooleanType, DoubleType, FloatType

from airflow_provider_phlo.iceberg.merge.plan import MergePlan
from airflow_provider_phlo.sql import literal, quote_identifier
from airflow_provider_phlo.terms import METADATA_COLUMNS, DeduplicationMethod, MergeStrategy, MetadataColumn

PARTITION_DATE, ROW_HASH = MetadataColumn.PARTITION_DATE, MetadataColumn.ROW_HASH
ROW = "_phlo_row"  # numbers the staged rows
ACTION, RANK, HITS, AGAIN = "_phlo_action", "_phlo_rank", "_phlo_hits", "_phlo_again"


@dataclass(frozen=True)
class MergeSql:
    """
    The statements of one merge.

    :param target: the table, quoted.
    :param staging: the staged rows, quoted: the table's columns and ``_phlo_row``.
    :param columns: the table's columns.
    :param floating: those that may hold NaN.
    :param boolean: those that are true or false.
    :param day: the partition that ``replace`` replaces.
    :param is_nan: the engine's name of that function.
    """

    target: str
    staging: str
    plan: MergePlan
    columns: tuple[str, ...]
    floating: frozenset[str] = frozenset()
    boolean: frozenset[str] = frozenset()
    day: datetime.date | None = None
    is_nan: str = "is_nan"

    @classmethod
    def of(cls, table: Table, target: str, staging: str, plan: MergePlan, *, day: str | None) -> MergeSql:
        """Return the statements of a merge into ``table``."""
        kinds = {item.name: item.field_type for item in table.schema().fields}
        return cls(
            target,
            staging,
            plan,
            tuple(kinds),
            frozenset(name for name, kind in kinds.items() if isinstance(kind, (FloatType, DoubleType))),
            frozenset(name for name, kind in kinds.items() if isinstance(kind, BooleanType)),
            datetime.date.fromisoformat(day) if day else None,
        )

    def for_duckdb(self, target: str, staging: str) -> MergeSql:
        """Return the same merge over DuckDB's views of both tables."""
        return replace(self, target=target, staging=staging, is_nan="isnan")

    # --- what becomes of the staged rows ----------------------------------------------------------------------

    def decisions(self, *, with_target: bool = False) -> str:
        """
        Return a query with a row for each staged row and each row of the table that has its key.

        ``_phlo_rank`` is 1 for the row of the table that is kept; ``_phlo_hits`` counts its rows with that key.

        :param with_target: add the columns of the table's row.
        """
        newest_first = f"{self._order('t')} DESC NULLS LAST, " if self.plan.order_by else ""
        best = f"{newest_first}CASE WHEN {self._differs} THEN 1 ELSE 0 END, t.{quote_identifier('_dlt_id')}"
        window = f"PARTITION BY s.{ROW}"
        carried = f", {self._list(self.columns, 't')}" if with_target else ""
        return (
            f"SELECT s.{ROW}, {self._action} AS {ACTION}, "
            f"row_number() OVER ({window} ORDER BY {best}) AS {RANK}, count(*) OVER ({window}) AS {HITS}{carried} "
            f"FROM (SELECT true AS {AGAIN}, {self._list(self.columns)} FROM {self.target}) t "
            f"RIGHT JOIN {self.staging} s ON {self._matches}"
        )

    @property
    def counts(self) -> str:
        """Return the query of ``(what, whether it is the row that is kept, how many)``."""
        if self.plan.strategy == MergeStrategy.REPLACE:
            return (
                f"SELECT 'different', true, count(*) FROM ({self._changed_contents}) d "
                f"UNION ALL SELECT 'replaced', true, count(*) FROM {self.target} WHERE {self._on_day('')}"
            )
        if self.plan.strategy == MergeStrategy.APPEND:
            return f"SELECT 'insert', true, count(*) FROM {self.staging} s{self._new_only}"
        return f"SELECT {ACTION}, {RANK} = 1, count(*) FROM ({self.decisions()}) d GROUP BY 1, 2"

    @property
    def _action(self) -> str:
        cases = [f"WHEN t.{AGAIN} IS NULL THEN {'CASE WHEN ' + self._gone + ' THEN ' if self.plan.hard_delete else ''}"]
        cases[0] += "'absent' ELSE 'insert' END" if self.plan.hard_delete else "'insert'"
        if self.plan.order_by:
            cases.append(f"WHEN {self._older} THEN 'outdated'")
        if self.plan.hard_delete:
            cases.append(f"WHEN {self._gone} THEN 'delete'")
        return f"CASE {' '.join(cases)} WHEN {self._differs} THEN 'update' ELSE 'unchanged' END"

    # --- the statement ----------------------------------------------------------------------------------------

    def statement(self, guard: str, *, duplicates: bool = False) -> str:
        """
        Return the MERGE.

        :param guard: a condition; where it does not hold, the statement changes nothing.
        :param duplicates: whether rows of the table share a key of the batch.
        """
        if self.plan.strategy == MergeStrategy.APPEND:
            clauses, source, matches = [], self._guarded(guard), "false"
            if self._by_hash:
                matches = self._copies
            clauses.append(self._insert())
        elif self.plan.strategy == MergeStrategy.REPLACE:
            source, matches = self._replacing(guard), f"s.{AGAIN} AND {self._on_day('t.')}"
            clauses = ["WHEN MATCHED THEN DELETE", self._insert(f"NOT s.{AGAIN}")]
        elif duplicates:
            source, matches = self._deciding(guard), f"NOT s.{AGAIN} AND {self._matches}"
            clauses = [
                f"WHEN MATCHED AND (s.{HITS} > 1 OR s.{ACTION} = 'delete') THEN DELETE",
                self._update(f"s.{ACTION} = 'update'"),
                self._insert(f"(s.{AGAIN} OR s.{ACTION} = 'insert')"),
            ]
        else:
            source, matches = self._guarded(guard), self._matches
            clauses = self._merging()
        return f"MERGE INTO {self.target} t USING ({source}) s ON {matches} {' '.join(clauses)}"

    def _merging(self) -> list[str]:
        current = f" AND NOT {self._older}" if self.plan.order_by else ""
        delete = [f"WHEN MATCHED{current} AND {self._gone} THEN DELETE"] if self.plan.hard_delete else []
        insert = self._insert(f"NOT {self._gone}" if self.plan.hard_delete else "")
        return [*delete, self._update(self._differs + current), insert]

    def _guarded(self, guard: str) -> str:
        return f"SELECT * FROM {self.staging} WHERE {guard}"

    def _replacing(self, guard: str) -> str:
        """The staged rows, and one row that matches every old row, so that one statement deletes and inserts."""
        nothing = ", ".join(f"NULL AS {quote_identifier(name)}" for name in self.columns)
        staged = self._list(self.columns)
        return (
            f"SELECT false AS {AGAIN}, {staged} FROM {self.staging} WHERE {guard} "
            f"UNION ALL SELECT true, {nothing} WHERE {guard}"
        )

    def _deciding(self, guard: str) -> str:
        """The staged rows with their decisions; all rows that share a key are deleted, and one is inserted again."""
        decided = f"({self.decisions()})"
        staged = self._list(self.columns, "s")
        joined = f"FROM {self.staging} s JOIN {decided} d ON s.{ROW} = d.{ROW} WHERE d.{RANK} = 1 AND {guard}"
        return (
            f"SELECT false AS {AGAIN}, d.{ACTION}, d.{HITS}, {staged} {joined} "
            f"UNION ALL SELECT true, d.{ACTION}, d.{HITS}, {staged} {joined} "
            f"AND d.{HITS} > 1 AND d.{ACTION} = 'update' "
            f"UNION ALL SELECT true, {ACTION}, {HITS}, {self._list(self.columns)} FROM {self._kept} WHERE {guard}"
        )

    @property
    def _kept(self) -> str:
        """The row of the table that stays, for each key that several of its rows share."""
        return (
            f"(SELECT * FROM ({self.decisions(with_target=True)}) d "
            f"WHERE {RANK} = 1 AND {HITS} > 1 AND {ACTION} IN ('unchanged', 'outdated')) kept"
        )

    def _insert(self, condition: str = "") -> str:
        when = f" AND {condition}" if condition else ""
        return (
            f"WHEN NOT MATCHED{when} THEN INSERT ({self._list(self.columns)}) VALUES ({self._list(self.columns, 's')})"
        )

    def _update(self, condition: str) -> str:
        assigned = ", ".join(f"{quote_identifier(name)} = s.{quote_identifier(name)}" for name in self.columns)
        return f"WHEN MATCHED AND {condition} THEN UPDATE SET {assigned}"

    # --- the table as the statement would leave it ------------------------------------------------------------

    def preview(self, decisions: str) -> str:
        """
        Return the query of the table as the statement would leave it.

        :param decisions: a table with the result of :meth:`decisions`, of ``merge`` only.
        """
        columns = self._list(self.columns)
        if self.plan.strategy == MergeStrategy.APPEND:
            added = f"SELECT {columns} FROM {self.staging} s{self._new_only}"
            return f"SELECT {columns} FROM {self.target} UNION ALL {added}"
        if self.plan.strategy == MergeStrategy.REPLACE:
            kept = f"SELECT {columns} FROM {self.target} WHERE ({self._on_day('')}) IS NOT TRUE"
            return f"{kept} UNION ALL SELECT {columns} FROM {self.staging}"
        staged = f"FROM {self.staging} s JOIN {decisions} d ON s.{ROW} = d.{ROW} WHERE d.{RANK} = 1"
        gone = f"SELECT 1 {staged} AND (d.{ACTION} IN ('update', 'delete') OR d.{HITS} > 1) AND {self._matches}"
        return (
            f"SELECT {self._list(self.columns, 't')} FROM {self.target} t WHERE NOT EXISTS ({gone}) "
            f"UNION ALL SELECT {self._list(self.columns, 's')} {staged} AND d.{ACTION} IN ('insert', 'update') "
            f"UNION ALL SELECT {columns} FROM {self._kept}"
        )

    # --- conditions -------------------------------------------------------------------------------------------

    @property
    def _by_hash(self) -> bool:
        return self.plan.deduplication and self.plan.method == DeduplicationMethod.HASH

    @property
    def _new_only(self) -> str:
        if not self._by_hash:
            return ""
        return f" WHERE NOT EXISTS (SELECT 1 FROM {self.target} t WHERE {self._copies})"

    @property
    def _matches(self) -> str:
        return " AND ".join(self._same_key(name) for name in self.plan.key)

    def _same_key(self, name: str) -> str:
        one, other = f"t.{quote_identifier(name)}", f"s.{quote_identifier(name)}"
        if name not in self.floating:
            return f"{one} = {other}"
        # IS NOT DISTINCT FROM would say the same, but engines join by equality
        plain = "CASE WHEN {nan}({value}) THEN 0e0 ELSE {value} END"
        sides = (plain.format(nan=self.is_nan, value=value) for value in (one, other))
        return f"{self.is_nan}({one}) = {self.is_nan}({other}) AND {' = '.join(sides)}"

    @property
    def _differs(self) -> str:
        """The contents differ; stored hashes do not count, since who updates a value carries our hash along."""
        names = map(quote_identifier, self._content)
        return "(" + (" OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in names) or "false") + ")"

    @property
    def _copies(self) -> str:
        """The contents are the same; the hash makes it a join by equality."""
        return f"t.{ROW_HASH} = s.{ROW_HASH} AND NOT {self._differs}"

    @property
    def _content(self) -> list[str]:
        return [name for name in self.columns if name not in METADATA_COLUMNS]

    @property
    def _older(self) -> str:
        """The condition that the staged row is older than the table's; NULL and NaN are older than everything."""
        ours, theirs = self._order("s"), self._order("t")
        return f"({theirs} IS NOT NULL AND ({ours} IS NULL OR {ours} < {theirs}))"

    def _order(self, side: str) -> str:
        name = self.plan.order_by or ""
        value = f"{side}.{quote_identifier(name)}"
        return f"(CASE WHEN NOT {self.is_nan}({value}) THEN {value} END)" if name in self.floating else value

    @property
    def _gone(self) -> str:
        name = self.plan.hard_delete or ""
        value = f"s.{quote_identifier(name)}"
        return f"coalesce({value}, false)" if name in self.boolean else f"({value} IS NOT NULL)"

    def _on_day(self, prefix: str) -> str:
        return f"{prefix}{PARTITION_DATE} = DATE {literal(str(self.day))}"

    @property
    def _changed_contents(self) -> str:
        """The contents that the partition and the staged rows do not have equally often."""
        content = self._list(self._content)
        both = (
            f"SELECT {content}, 1 AS {HITS} FROM {self.target} WHERE {self._on_day('')} "
            f"UNION ALL SELECT {content}, -1 FROM {self.staging}"
        )
        numbers = ", ".join(map(str, range(1, len(self._content) + 1)))
        return f"SELECT {content} FROM ({both}) b GROUP BY {numbers} HAVING sum({HITS}) <> 0"

    @staticmethod
    def _list(names: Iterable[str], prefix: str = "") -> str:
        dotted = f"{prefix}." if prefix else ""
        return ", ".join(dotted + quote_identifier(name) for name in names)
