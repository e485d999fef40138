from __future__ import annotations

import os

# dlt would import Airflow to look for its settings there, which costs the first test five seconds.
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")
