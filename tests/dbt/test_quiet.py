"""No warning of a library reaches a log or a command line because of what we import (case 61)."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.merge.rows import ranks
from airflow_provider_phlo.process import without_warnings_of_cosmos
from tests.patience import PATIENCE

IMPORTS = """
import logging, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
from airflow_provider_phlo.process import without_warnings_of_cosmos
with without_warnings_of_cosmos():
    from cosmos import DbtTaskGroup
    import cosmos.operators.local
"""


def test_case_61_cosmos_is_imported_silently():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "penlineage" in line]


def test_case_61_other_messages_of_the_same_loggers_stay(caplog):
    log = logging.getLogger("cosmos.operators.local")
    with without_warnings_of_cosmos():
        log.warning("To enable emitting Openlineage events, install it.")
        log.warning("the disk is full")
    log.warning("To enable emitting Openlineage events, install it.")
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "the disk is full",
        "To enable emitting Openlineage events",
    ]


@pytest.mark.parametrize(
    ("values", "order"),
    [([3, None, 1, 3], [2, 0, 1, 2]), ([2.0, float("nan"), None, -0.0, 0.0], [2, 0, 0, 1, 1]), ([], [])],
)
def test_case_61_order_by_ranks_without_a_warning(values, order):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ranks(pa.array(values, pa.int64() if not values else None))
    assert np.array_equal(found, order)


def test_case_61_airflows_commands_find_graphviz():
    code = "import warnings; warnings.simplefilter('error'); from airflow.utils import dot_renderer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert "graphviz" not in done.stderr
