"""
Publish rows to PostgreSQL tables; readers see either the old content of all of them or the new, never a gap or a
mixture, whatever their isolation level.

:mod:`.publication` decides how each table gets its rows: nothing at all, what has changed since the state that
:mod:`.state` finds beside the rows (:mod:`.delta`), or all of them (:mod:`.loading`). :mod:`.tables` says what a table
is like and what has to change about it, :mod:`.declarations` what is to be declared on it, :mod:`.binary_copy` how
values are written, :mod:`.errors` what PostgreSQL's errors are called here.
"""

from __future__ import annotations

from airflow_provider_phlo.publishing.postgres.declarations import Declaration, Index
from airflow_provider_phlo.publishing.postgres.publication import publish, publish_together
from airflow_provider_phlo.publishing.postgres.results import Mart, PublishResult

__all__ = ["Declaration", "Index", "Mart", "PublishResult", "publish", "publish_together"]
