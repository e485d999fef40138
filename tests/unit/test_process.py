"""What the import of a library changes for the whole process, what is undone, and that times keep their offsets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OBSERVE = """
import decimal, gc, json, locale, logging, os, signal, socket, sys, threading, time, warnings

def observed():
    return json.loads(json.dumps(_observed()))

def _observed():
    signals = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
    return {
        "environment": sorted(map(list, os.environ.items())),
        "time zone": [time.tzname, time.timezone],
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": sorted(f"{each.name} {signal.getsignal(each)}" for each in signals),
        "root logger": [logging.getLogger().level, *(type(each).__name__ for each in logging.getLogger().handlers)],
        "decimals": repr(decimal.getcontext()),
        "sockets": socket.getdefaulttimeout(),
        "hooks": [sys.excepthook.__name__, threading.excepthook.__name__],
        "limits": [sys.getrecursionlimit(), sys.get_int_max_str_digits()],
        "threads": sorted(each.name for each in threading.enumerate()),
        "warnings": sorted(f"{action} {kind.__name__} {module}" for action, text, kind, module, _ in warnings.filters
                           if text is None and kind.__module__ == "builtins"),  # not only a library's own
        "shown by": warnings.showwarning.__module__,
        "umask and folder": [umask(), os.getcwd()],
        "collector": gc.get_threshold(),
        "floating point": numpy.geterr() if (numpy := sys.modules.get("numpy")) else USUAL,
        "pandas": pandas_options(),
    }

USUAL = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}

def umask():
    os.umask(mask := os.umask(0))
    return mask

def pandas_options():
    if "pandas" not in sys.modules:
        return []
    from pandas._config import config
    return [name for name, option in config._registered_options.items() if config.get_option(name) != option.defval]

before = observed()
for name in sys.argv[1:]:
    __import__(name)
after = observed()
changed = {kind: found for kind, found in after.items() if found != before[kind]}
if "environment" in changed:
    new = [name for name, value in after["environment"] if [name, value] not in before["environment"]]
    changed["environment"] = sorted(new)
print(json.dumps(changed))
"""
PANDERA = {"environment": ["PYARROW_IGNORE_TIMEZONE", "SPARK_LOCAL_IP"]}
# what is listed here is known and left, but for what Pandera does, which is fenced
CHANGED = {
    "pyarrow": {},
    "pandas": {},
    "duckdb": {},
    "polars": {"environment": ["_RJEM_MALLOC_CONF"]},  # how its own memory is managed
    "pandera": PANDERA,
    "pandera.pandas": PANDERA,
    "pandera.polars": {"environment": [*PANDERA["environment"], "_RJEM_MALLOC_CONF"]},
    "pyiceberg.catalog.sql": {},
    "pyiceberg.io.pyarrow": {},
    "dlt": {},
    "dbt.cli.main": {"root logger": [30, "StreamHandler"]},  # undone where tasks of others are forked from
    "dbt.adapters.duckdb": {},
    "cosmos": {},
    "sqlglot": {},
    "psycopg": {},
    "requests": {},
    "trino": {},
}
FENCED = {
    "airflow_provider_phlo.schemas.base": {"environment": PANDERA["environment"]},
    "airflow_provider_phlo.quality.scan": {},
}
SHIFTED = """
import datetime as dt, sys
import pandera.pandas
import pyarrow as pa

AT = dt.datetime(2024, 1, 15, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
UTC = dt.datetime(2024, 1, 14, 23, tzinfo=dt.timezone.utc)
assert pa.array([AT])[0].as_py() != UTC  # what Pandera does to the process; the test is moot once it no longer does
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    """Run code in a process of its own; return the last line that it prints."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.long
@pytest.mark.parametrize("module", [*CHANGED, *FENCED])
def test_what_an_import_changes_is_known(module):
    assert json.loads(run(OBSERVE, module)) == {**CHANGED, **FENCED}[module]


@pytest.mark.long
@pytest.mark.parametrize(
    "entry",
    [
        "import airflow_provider_phlo.schemas",
        "from airflow_provider_phlo.quality import CountCheck; CountCheck(1).execute([{'id': 1}])",
        "from airflow_provider_phlo.process import keep_offsets; keep_offsets()",
    ],
)
def test_case_65_times_keep_their_offsets_after_pandera_is_imported(entry):
    assert run(f"{SHIFTED}\n{entry}\nprint(pa.Table.from_pylist([{{'at': AT}}])['at'][0].as_py() == UTC)") == "True"


@pytest.mark.long
@pytest.mark.parametrize("later", ["pandera", "pandera.pandas", "pandera.polars"])
def test_case_65_pandera_imported_later_does_not_shift_times(later):
    code = f"import airflow_provider_phlo.schemas, {later}\n{SHIFTED.replace('!= UTC', '== UTC')}\nprint('kept')"
    assert run(code) == "kept"


@pytest.mark.long
def test_case_65_a_deployment_that_ignores_offsets_stores_the_right_instant():
    code = f"{SHIFTED}\nimport airflow_provider_phlo.schemas\nprint(pa.array([AT])[0].as_py() == UTC)"
    assert run(code, PYARROW_IGNORE_TIMEZONE="1") == "True"


@pytest.mark.long
def test_case_65_checks_of_frames():
    code = f"""{SHIFTED}
from airflow_provider_phlo.quality import FreshnessCheck, RangeCheck

india = dt.timezone(dt.timedelta(hours=5, minutes=30))
old = [{{"at": dt.datetime.now(india) - dt.timedelta(hours=6)}}]
at = [{{"at": AT}}]
early = RangeCheck("at", min_value="2024-01-15T00:00:00Z").execute(at)
print([FreshnessCheck("at", 2).execute(old).passed, early.passed, early.failed])"""
    assert run(code) == "[False, False, 1]"


@pytest.mark.long
def test_the_preload_leaves_the_process_as_it_was():
    code = """import logging, os
from airflow_provider_phlo.process import process_as_before

os.environ["SPARK_LOCAL_IP"] = "10.0.0.1"
with process_as_before():
    import pandera.pandas, dbt.cli.main
print([os.environ.get("PYARROW_IGNORE_TIMEZONE"), os.environ["SPARK_LOCAL_IP"], logging.getLogger().handlers])"""
    assert run(code) == "[None, '10.0.0.1', []]"
