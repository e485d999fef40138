"""What each kind of plugin promises, tried on an example; what a plugin's own code raises goes through."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import AccountingError
from airflow_provider_phlo.extensions.outcomes import Trial, expected, promised
from airflow_provider_phlo.installed_plugins import Kind

if TYPE_CHECKING:
    import pyarrow as pa

Example = Mapping[str, Any]
# of a source: enough to see what its records are
_RECORDS = 1000


def of_a_source(source: Callable[..., Any], example: Example) -> Iterator[Trial]:
    """Yield whether it yields records that a table can have; only its first ones are read."""
    import dlt

    from airflow_provider_phlo.ingestion.checked_rows import StagingPlan, convert_and_validate
    from airflow_provider_phlo.ingestion.extraction import chunks, dlt_state, plain_errors

    normalize = dlt.Schema("phlo").naming.normalize_identifier
    with tempfile.TemporaryDirectory() as folder, dlt_state("tried", Path(folder), ""):
        with plain_errors("the source"):
            yielded = source(**example.get("arguments", {}))
        if yielded is None:
            yield promised("it yields records", "it returned None, which skips the run")
            return
        found = list(islice(chunks(yielded, "the source", _RECORDS), 1))
    yield promised("it yields records", "" if found else "it yields none")
    for chunk in found:
        _, failures = convert_and_validate(chunk, StagingPlan("the source"), normalize)
        broken = sorted({f"{each.check} of {each.column or 'records'}" for each in failures})
        yield promised(f"a table can have them ({len(chunk):,} tried)", ", ".join(broken))


def of_a_check(check: Callable[..., Any], example: Example) -> Iterator[Trial]:
    """Yield whether it says what its author expects, again and again, and looks without touching."""
    import pyarrow as pa

    from airflow_provider_phlo.quality import QualityCheckResult
    from airflow_provider_phlo.quality.engines.frames import to_pandas

    made = check(**example.get("arguments", {}))
    rows = pa.Table.from_pylist(example.get("rows", []))
    frame = to_pandas(rows)
    result = made.execute(frame)
    if not isinstance(result, QualityCheckResult) or not isinstance(result.passed, bool):
        said = type(result).__name__
        yield promised("it returns a result", f"execute returned a {said}, or one whose passed is not True or False")
        return
    yield promised("it returns a result", "")
    wanted = example.get("passed")
    differs = wanted is not None and result.passed is not wanted
    yield promised(f"an example {'passes' if wanted else 'fails'}", f"passed is {result.passed}" if differs else "")
    yield promised("the rows stay as they are", "" if frame.equals(to_pandas(rows)) else "it changes the data frame")
    again = made.execute(to_pandas(rows))
    yield promised("it says the same again", "" if again.passed == result.passed else "the second result differs")
    yield from _of_no_rows(made, to_pandas(rows.slice(0, 0)))


def _of_no_rows(made: Any, frame: Any) -> Iterator[Trial]:
    try:
        made.execute(frame)
        problem = ""
    except Exception as error:  # noqa: BLE001 - somebody's own code
        problem = f"it raises {type(error).__name__}: a day without rows fails"
    yield expected("it judges no rows, too", problem)


def of_a_transform(transform: Callable[..., Any], example: Example) -> Iterator[Trial]:
    """Yield whether it makes of rows what its author expects, of no rows too, and loses track of none."""
    import numpy as np
    import pyarrow as pa

    from airflow_provider_phlo.ingestion import transforms

    rows = pa.Table.from_pylist(example.get("rows", []))
    found = transforms.apply([transform], rows, np.arange(len(rows)), "the transform")
    if "gives" in example:
        differs = found.rows.to_pylist() != list(example["gives"])
        yield promised("an example becomes what it gives", "it becomes other rows" if differs else "")
    again = transforms.apply([transform], rows, np.arange(len(rows)), "the transform")
    yield promised(
        "it does the same again",
        "" if again.rows.equals(found.rows) else "the second result differs: a retry would load other rows",
    )
    empty = transforms.apply([transform], rows.slice(0, 0), np.arange(0), "the transform")
    differs = bool(len(empty.rows)) or empty.rows.schema != found.rows.schema
    yield promised("no rows stay no rows, with its columns", "they get rows, or other columns" if differs else "")
    lost = f"the column {transforms.POSITION} is not passed on: only numbers of rows are accounted for"
    yield expected("it keeps track of records", lost if found.origins is None else "")
    yield expected("rows do not depend on the rows beside them", _parted(transform, rows, found.rows))


def _parted(transform: Callable[..., Any], rows: pa.Table, whole: pa.Table) -> str:
    """Return what is surprising about rows in two batches; empty if they become what they become in one."""
    import numpy as np
    import pyarrow as pa

    from airflow_provider_phlo.ingestion import transforms

    half = len(rows) // 2
    parts = [
        transforms.apply([transform], part, np.arange(len(part)), "the transform").rows
        for part in (rows.slice(0, half), rows.slice(half))
    ]
    together = pa.concat_tables(parts, promote_options="permissive")
    same = together.to_pylist() == whole.to_pylist()
    return "" if same else "two batches become something else than one, and a batch ends anywhere"


def of_a_publisher(publisher: Callable[..., Any], example: Example) -> Iterator[Trial]:
    """Yield whether it publishes marts whole, also in the place of others, and says how many rows they have."""
    from airflow_provider_phlo.publishing.publishers import made, publish_through

    with tempfile.TemporaryDirectory() as folder:
        options = {
            name: value.replace("{folder}", folder) if isinstance(value, str) else value
            for name, value in example.get("arguments", {}).items()
        }
        for what, rows in (("it publishes marts", 3), ("it replaces them", 2), ("it publishes marts without rows", 0)):
            marts = {"phlo_trial_orders": _mart(rows), "phlo_trial_nothing": _mart(0)}
            try:
                publish_through(made(publisher, options, "publisher"), marts, "the publisher")
            except AccountingError as error:
                yield promised(what, str(error))
                return
            yield promised(what, "")


def _mart(rows: int) -> Any:
    """Return a mart of every type that most have, in two batches."""
    import pyarrow as pa

    from airflow_provider_phlo.publishing.lakehouse import Source

    columns: Sequence[tuple[str, pa.DataType, Any]] = (
        ("order_id", pa.int64(), 2**53 + 1),
        ("customer", pa.string(), 'Zoë "Z", of\nNowhere'),
        ("amount", pa.decimal128(12, 2), Decimal("-0.05")),
        ("share", pa.float64(), 0.1),
        ("paid", pa.bool_(), False),
        ("day", pa.date32(), date(2024, 2, 29)),
        ("at", pa.timestamp("us", tz="UTC"), datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)),
    )
    schema = pa.schema([(name, kind) for name, kind, _ in columns])
    full = {name: value for name, _, value in columns}
    # the last row has no values
    records = [full if number < rows - 1 else dict.fromkeys(full) for number in range(rows)]
    batches = pa.Table.from_pylist(records, schema).to_batches(max_chunksize=2)
    return Source(schema, lambda: pa.RecordBatchReader.from_batches(schema, batches), comment="Tries a publisher out.")


def of_commands(group: Any, example: Example) -> Iterator[Trial]:
    """Yield whether each command can be parsed, and its code imported."""
    yield promised("it has commands", "" if group.commands else "it has none")
    for command in group.commands:
        parser = argparse.ArgumentParser(prog=command.name)
        for argument in command.arguments:
            parser.add_argument(*argument.flags, **argument.options)
        parser.format_help()
        module, _, name = command.path.rpartition(".")
        found = getattr(import_module(module), name, None)
        yield promised(f"{command.name}: its code is there", "" if callable(found) else f"there is no {command.path}")
        missing = "" if command.examples else "its help shows none"
        yield expected(f"{command.name}: it has an example", missing)


OF: Mapping[Kind, Callable[[Any, Example], Iterator[Trial]]] = {
    Kind.SOURCE: of_a_source,
    Kind.CHECK: of_a_check,
    Kind.TRANSFORM: of_a_transform,
    Kind.PUBLISHER: of_a_publisher,
    Kind.COMMANDS: of_commands,
}
