"""Import the DAG files of a folder as Airflow's dag-processor does, and print what came of it: for ``phlo doctor``."""

from __future__ import annotations

import json
import sys

from airflow.dag_processing.dagbag import DagBag

from airflow_provider_phlo.diagnosis.project import ANSWER


def main() -> None:
    """Print a line of JSON: the DAGs, and file → the last line of its error."""
    bag = DagBag(sys.argv[1])
    errors = {str(file): trace.strip().splitlines()[-1] for file, trace in bag.import_errors.items()}
    print(ANSWER + json.dumps({"dags": sorted(bag.dag_ids), "errors": errors}))


if __name__ == "__main__":
    main()
