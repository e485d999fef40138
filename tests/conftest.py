"""What all tests share: an environment that no setting of the machine reaches."""

from __future__ import annotations

import os
import sys
import tempfile

# a developer's own airflow.cfg must not decide what is tested; workers of pytest-xdist inherit the folder
if "PHLO_TESTS_AIRFLOW_HOME" not in os.environ:
    _folder = tempfile.TemporaryDirectory(prefix="phlo-tests-")
    os.environ["PHLO_TESTS_AIRFLOW_HOME"] = _folder.name
os.environ["AIRFLOW_HOME"] = os.environ["PHLO_TESTS_AIRFLOW_HOME"]
# dlt would import Airflow to look for its settings there: seconds that a unit test need not wait for
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
# imports are most of the time of every process that a test starts: let Python keep what it compiled
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
