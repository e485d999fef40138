"""Queries of checks, in a session of Trino that is kept."""

from __future__ import annotations

import pytest
from trino.transaction import IsolationLevel

from airflow_provider_phlo.iceberg.trino.queries import Queries, StatementError

pytestmark = pytest.mark.xdist_group("trino")

TIME_ZONE = "SELECT current_timezone()"


@pytest.mark.parametrize(("isolation", "opened"), [(IsolationLevel.AUTOCOMMIT, 1), (IsolationLevel.READ_COMMITTED, 2)])
def test_a_session_in_utc_is_kept_but_for_transactions_and_after_a_failure(trino, isolation, opened):
    connections = []

    def open_one():
        connections.append(trino.connect(isolation_level=isolation, timezone="Europe/Berlin"))
        return connections[-1]

    queries = Queries(open_one)
    for _ in range(2):
        assert queries.ask(TIME_ZONE).rows == [["UTC"]]
    assert len(connections) == opened
    with pytest.raises(StatementError, match="INVALID_CAST_ARGUMENT"):
        queries.ask("SELECT CAST('text' AS bigint)")
    failed_in = connections[-1]
    assert queries.ask(TIME_ZONE).rows == [["UTC"]]
    assert connections[-1] is not failed_in
    assert queries.execute(TIME_ZONE) == [["Europe/Berlin"]]
