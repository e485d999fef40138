"""
Snowflake as a warehouse: it reads the stage itself, through an external stage over the same bucket.

Names that unquoted SQL could have are written in capitals, so that unquoted SQL finds them: ``row_key`` of a model is
``ROW_KEY``. Columns of Parquet are named as the model names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import (
    CommitConflictError,
    ConfigurationError,
    PhloError,
    SchemaError,
    TransientError,
)
from airflow_provider_phlo.sql import literal, quote_identifier
from airflow_provider_phlo.warehouse.sql_warehouse import ColumnFound, execute
from airflow_provider_phlo.warehouse.stage_batches import StageFile
from airflow_provider_phlo.warehouse.statements import Statement, TableStatements, qualified, stage_columns_of

# sets of a session: Parquet has instants in UTC, and a cast without zone would take them for the session's own
SESSION = {"TIMEZONE": "UTC"}
TURNS = "phlo_load_turns"
# the most files that FILES may name
_MOST_FILES = 1000
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_STAGE_NAME = re.compile(r'(?:(?:[A-Za-z_][A-Za-z0-9_$]*|"[^"]+")\.){0,2}(?:[A-Za-z_][A-Za-z0-9_$]*|"[^"]+")')
_SCHEMES = ("s3://", "s3a://", "gs://", "gcs://")
_NUMBER, _NESTED = "NUMBER", "VARIANT"
_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, f"{_NUMBER}(38,0)"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME(6)"),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), "VARCHAR"),
    (lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind), "BINARY"),
    (pa.types.is_nested, _NESTED),
)
# what information_schema calls columns that take values of a type
_TAKES = {
    "BOOLEAN": ("BOOLEAN",),
    "FLOAT": ("FLOAT",),
    "DATE": ("DATE",),
    "TIME": ("TIME",),
    "VARCHAR": ("TEXT",),
    "BINARY": ("BINARY",),
    "VARIANT": ("VARIANT",),
    "TIMESTAMP_LTZ": ("TIMESTAMP_LTZ", "TIMESTAMP_TZ"),
    "TIMESTAMP_NTZ": ("TIMESTAMP_NTZ",),
}
# what types hold at least, to hold every value: characters, bytes, digits of a second
_LEAST = {"TEXT": 16_777_216, "BINARY": 8_388_608, "TIME": 6, "TIMESTAMP_LTZ": 6, "TIMESTAMP_TZ": 6, "TIMESTAMP_NTZ": 6}


class SnowflakeDialect:
    """
    How Snowflake loads a stage.

    :param stage_name: the external stage over the root of the stage: ``stage``, or ``database.schema.stage``.
    :raises ConfigurationError: it is not a name.
    """

    name = "snowflake"
    transactional_ddl = False

    def __init__(self, stage_name: str) -> None:
        if not _STAGE_NAME.fullmatch(stage_name):
            raise ConfigurationError(
                f"[phlo] snowflake_stage = {stage_name!r}: name the external stage over the folder of stage_path, as "
                "stage or database.schema.stage. Snowflake reads the files itself, so it needs one."
            )
        self._stage_name = stage_name

    def stored_name(self, name: str) -> str:
        """Return a name in capitals where unquoted SQL could have it, else the name itself."""
        return name.upper() if _PLAIN.fullmatch(name) else name

    def quote(self, name: str) -> str:
        """Return an identifier as SQL."""
        return quote_identifier(self.stored_name(name))

    def stage(self, schema: str, name: str) -> str:
        """Return the stage table, beside its target."""
        return qualified(self, schema, f"{name}__stage")

    def type_of(self, column: pa.Field) -> str:
        """
        Return the type of a column: an instant is a TIMESTAMP_LTZ, what is nested a VARIANT.

        :raises SchemaError: Snowflake has none.
        """
        kind = column.type
        if pa.types.is_timestamp(kind):
            return "TIMESTAMP_LTZ(6)" if kind.tz else "TIMESTAMP_NTZ(6)"
        if pa.types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
            return f"{_NUMBER}({kind.precision},{kind.scale})"
        for matches, found in _TYPES:
            if matches(kind):
                return found
        raise SchemaError(f"Column {column.name}: Snowflake has no type for Arrow's {kind}.")

    def declared_key(self, key: Sequence[str]) -> str:
        """Return nothing: Snowflake has no indexes, and does not enforce keys."""
        return ""

    def create_stage(self, name: str, columns: str) -> str:
        """Return the statement that makes the stage table: without fail-safe, which its rows need not."""
        return f"CREATE TRANSIENT TABLE IF NOT EXISTS {name} ({columns})"

    def copy(self, into: str, columns: pa.Schema, entity: str, files: Sequence[StageFile]) -> str:
        """Return one COPY for all files: it names them, or if they are too many, the attempts that wrote them."""
        names = ", ".join(self.quote(name) for name in columns.names)
        values = ",\n  ".join(f"$1:{quote_identifier(column.name)}::{self.type_of(column)}" for column in columns)
        source = files[0].path.partition("/")[0]  # a load is of one source
        return (
            f"COPY INTO {into} ({names})\nFROM (SELECT\n  {values}\n  FROM @{self._stage_name}/{source}/)\n"
            f"{self._which(entity, files)}\n"
            "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)\n"
            # which runs have loaded is in the history of loads; the table's own metadata would skip files silently
            "ON_ERROR = ABORT_STATEMENT FORCE = TRUE"
        )

    def _which(self, entity: str, files: Sequence[StageFile]) -> str:
        if len(files) <= _MOST_FILES:
            paths = (file.path.partition("/")[2] for file in files)
            return f"FILES = ({', '.join(literal(path) for path in paths)})"
        if any("/_load_" in file.path for file in files):
            raise ConfigurationError(
                f"{entity}: rows are to be set aside, and Snowflake's FILES takes {_MOST_FILES:,} names, not "
                f"{len(files):,}: load fewer batches at a time."
            )
        attempts = dict.fromkeys(file.name.rpartition("-")[0] for file in files)
        return f"PATTERN = '(.*/)?{entity}/org=[^/]+/date=[^/]+/({'|'.join(attempts)})-[0-9]+[.]parquet'"

    def comparable(self, column: pa.Field, value: str) -> str:
        """Return the value; of a VARIANT its JSON, in which keys are sorted."""
        return f"TO_JSON({value})" if self.type_of(column) == _NESTED else value

    def take_turn(self, targets: Sequence[str]) -> list[Statement]:
        """Return updates of a row per target: who updates it second waits until the first has committed."""
        return [
            Statement(
                "other loads of the table wait",
                f"UPDATE {self._turns(target)} SET {self.quote('taken_at')} = CURRENT_TIMESTAMP "
                f"WHERE {self.quote('table_name')} = {literal(target)}",
            )
            for target in targets
        ]

    def _turns(self, target: str) -> str:
        return f"{target.rpartition('.')[0]}.{self.quote(TURNS)}"

    def columns(self, cursor: Any, schema: str, name: str) -> dict[str, ColumnFound]:
        """Return the columns of a table."""
        found = execute(
            cursor,
            Statement(
                "what is the table like?",
                "SELECT * FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
                "ORDER BY ordinal_position",
                (self.stored_name(schema), self.stored_name(name)),
            ),
        )
        names = [str(described[0]).lower() for described in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found]
        return {
            str(row["column_name"]): ColumnFound(
                _written_type(row), row["is_nullable"] == "NO" and row["column_default"] is None
            )
            for row in rows
        }

    def takes(self, column: pa.Field, found: str) -> bool:
        """Return whether a column of type ``found`` holds every value."""
        wanted = self.type_of(column)
        if not wanted.startswith(_NUMBER):
            kind, _, size = found.rstrip(")").partition("(")
            return kind in _TAKES[wanted.partition("(")[0]] and (not size or int(size) >= _LEAST.get(kind, 0))
        have = re.fullmatch(r"NUMBER\((\d+),(\d+)\)", found)
        if have is None:
            return False
        scale = 0 if pa.types.is_integer(column.type) else column.type.scale
        digits = 19 if pa.types.is_integer(column.type) else column.type.precision - column.type.scale
        return int(have[2]) >= scale and int(have[1]) - int(have[2]) >= digits

    def prepare_stage(self, cursor: Any, table: TableStatements) -> None:
        """Make the row by which loads take turns, and drop a stage table of another model."""
        turns, target = self._turns(table.target), literal(table.target)
        names = f"{self.quote('table_name')}, {self.quote('taken_at')}"
        for sql in (
            f"CREATE SCHEMA IF NOT EXISTS {self.quote(table.schema)}",
            f"CREATE TABLE IF NOT EXISTS {turns} ({self.quote('table_name')} VARCHAR, {self.quote('taken_at')} "
            "TIMESTAMP_LTZ(6))",
            f"INSERT INTO {turns} ({names}) SELECT {target}, CURRENT_TIMESTAMP WHERE NOT EXISTS "
            f"(SELECT 1 FROM {turns} WHERE {self.quote('table_name')} = {target})",
        ):
            execute(cursor, Statement("loads take turns", sql))
        wanted = stage_columns_of(table.columns)
        found = self.columns(cursor, table.schema, f"{table.name}__stage")
        fits = {self.stored_name(column.name): column for column in wanted}
        if found and (
            found.keys() != fits.keys() or not all(self.takes(fits[name], found[name].type) for name in found)
        ):
            execute(cursor, Statement("the stage table is of another model", f"DROP TABLE {table.stage}"))

    def copy_rows(self, cursor: Any, statement: Statement, columns: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Execute the COPY: Snowflake reads the files."""
        execute(cursor, statement)

    def unfit(self, column: pa.Field, values: pa.Array) -> Sequence[int]:
        """Return the positions of texts and bytes that are longer than Snowflake's columns are by default."""
        most = _LEAST.get({"VARCHAR": "TEXT"}.get(self.type_of(column), self.type_of(column)))
        if most is None or pa.types.is_temporal(column.type):
            return []
        found: list[int] = pc.indices_nonzero(pc.greater(pc.binary_length(values), most)).to_pylist()
        return found

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raise Snowflake's errors as those of this package."""
        from snowflake.connector.errors import Error

        try:
            yield
        except Error as error:
            translated = translate(what, error)
        else:
            return
        raise translated from None  # Snowflake's text quotes values


def _written_type(column: Mapping[str, Any]) -> str:
    """Return the type of a row of ``information_schema.columns``, with its size where that may be too small."""
    kind = str(column["data_type"])
    if kind == _NUMBER:
        return f"{_NUMBER}({column['numeric_precision']},{column['numeric_scale']})"
    size = column.get("datetime_precision" if kind.startswith("TIME") else "character_maximum_length")
    return kind if size is None or kind not in _LEAST else f"{kind}({int(size)})"


# errors whose texts name objects and rights, not values
_NO_SUCH_OBJECT = (2003, 2043, 3001, 3540)
_LOCKS = (625, 604, 57014)
_OF_VALUES = (100035, 100038, 100040, 100046, 100069, 100071, 100072, 100078, 100090, 100132)


def translate(what: str, error: Exception) -> PhloError:
    """Return what an error of Snowflake's connector is called here."""
    number, state = getattr(error, "errno", None), getattr(error, "sqlstate", None)
    about = f"{type(error).__name__} {number}, SQLSTATE {state}"
    if number in _NO_SUCH_OBJECT:
        text = " ".join(str(error).split())
        return ConfigurationError(f"{what}: Snowflake refuses ({text}). Nothing was written.")
    if number in _LOCKS or "TransactionContext" in str(error):
        return CommitConflictError(f"{what}: another load held the table for too long ({about}). Nothing was written.")
    if number in _OF_VALUES:
        return SchemaError(
            f"{what}: Snowflake rejects a value ({about}): it does not fit its column. Nothing was written."
        )
    return TransientError(f"{what}: {about}. Snowflake undoes what is not committed; a retry loads what is missing.")


def require_reachable(stage_path: str) -> None:
    """
    Check that Snowflake can read the files of a stage.

    :raises ConfigurationError: it is a folder of this machine.
    """
    if not stage_path.startswith(_SCHEMES):
        raise ConfigurationError(
            f"[phlo] stage_path = {stage_path}: Snowflake cannot read a folder of this machine. Stage in a bucket "
            "(s3://, gs://), and name Snowflake's external stage over it in [phlo] snowflake_stage."
        )
