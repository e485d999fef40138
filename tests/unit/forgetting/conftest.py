from __future__ import annotations

from tests.unit.publishing.conftest import connection, server

__all__ = ["connection", "server"]
