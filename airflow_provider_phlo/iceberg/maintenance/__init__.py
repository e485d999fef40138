"""
Maintenance, planned first (:mod:`.planning`): small files become large ones (:mod:`.compaction`, :mod:`.rolling`),
manifests are folded (:mod:`.manifests`), snapshots expire (:mod:`.expiry`), and files that nothing names are removed
(:mod:`.orphans`).
"""

from airflow_provider_phlo.iceberg.maintenance.planning import (
    JOBS,
    MaintenanceOptions,
    MaintenanceReport,
    maintain,
    plan,
    run,
)

__all__ = ["JOBS", "MaintenanceOptions", "MaintenanceReport", "maintain", "plan", "run"]
