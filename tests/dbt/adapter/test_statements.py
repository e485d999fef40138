"""Which tables SQL changes."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.dbt.adapter.statements import changed_tables


@pytest.mark.parametrize(
    ("sql", "changed"),
    [
        ("insert into s.t values (1)", {"s.t": True}),
        ('INSERT OR REPLACE INTO "memory"."S"."T" SELECT 1', {"s.t": True}),
        ("update s.t set a = 1", {"s.t": True}),
        ("delete from s.t where true", {"s.t": True}),
        ('merge into s."my ""own"".table" as x using y on true', {'s.my "own".table': True}),
        ("truncate table s.t", {"s.t": True}),
        ("truncate s.t", {"s.t": True}),
        ("copy s.t from 'a.csv'", {"s.t": True}),
        ("alter table if exists s.t add column b int", {"s.t": True}),
        ("drop table if exists s . t cascade", {"s.t": True}),
        ("create or replace table s.t as select 1", {"s.t": True}),
        ("drop view s.v", {"s.v": False}),
        ("drop view s.v; create table s.v as select 1", {"s.v": True}),
        ("delete from s.a; insert into s.b select * from s.c", {"s.a": True, "s.b": True}),
        ("insert into s.größe select 1", {"s.größe": True}),
        ("drop schema if exists s cascade", {"s.*": False}),
        ("select * from s.t", {}),
        ("select updated from s.t where inserted", {}),
        ("create temp table x as select 1", {}),
    ],
)
def test_changed_tables(sql: str, changed: dict[str, bool]) -> None:
    assert changed_tables(sql) == changed
