"""What all tests share."""

from __future__ import annotations

import os

# dlt would import Airflow to look for its settings there: seconds that a unit test need not wait for
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
