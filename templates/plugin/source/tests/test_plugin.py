"""The source."""

from __future__ import annotations

from plugin_module.sources import plugin_name


def test_a_day_has_a_record_for_every_hour():
    records = list(plugin_name("2024-01-15"))
    assert len({record["id"] for record in records}) == 24
    assert records[0] == {"id": "2024-01-15-0", "at": "2024-01-15T00:00:00Z", "value": 20}
