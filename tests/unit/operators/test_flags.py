"""Options that are on or off: text is refused wherever one is taken, as "False" would switch it on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

from airflow_provider_phlo import operators, phlo_ingestion, phlo_quality
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.ingestion.definition import merge_plan
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.operators.catalog_sync import CatalogSyncOperator
from airflow_provider_phlo.operators.contract import ContractOperator
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.maintenance import MaintenanceOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.operators.stage_load import StageLoadOperator
from airflow_provider_phlo.quality import CountCheck

# an operator for each class that takes a flag, and what else it needs
BUILT = {
    CatalogSyncOperator: {"tables": ["raw.a"]},
    ContractOperator: {"contract": "a"},
    IngestOperator: {"source": lambda: [], "table": "a", "unique_key": "id"},
    MaintenanceOperator: {"tables": ["raw.a"]},
    MergeOperator: {"staged": {}, "table": "a", "unique_key": "id"},
    QualityCheckOperator: {"table": "a", "checks": [CountCheck(min_count=1)]},
    StageLoadOperator: {"tables": []},
}
DECLARED = {"table_name": "a", "unique_key": "id", "validation_schema": "a:B", "group": "g"}


def own_flags(operator):
    """Return (class, flag) for each flag that a class of this package takes."""
    return {
        (each, name)
        for each in operator.__mro__
        if each.__module__.startswith("airflow_provider_phlo") and each is not PhloOperator and "__init__" in vars(each)
        for name, parameter in inspect.signature(vars(each)["__init__"]).parameters.items()
        if parameter.annotation == "bool"
    }


def all_operators():
    for module in pkgutil.iter_modules(operators.__path__):
        content = importlib.import_module(f"{operators.__name__}.{module.name}")
        yield from (each for each in vars(content).values() if inspect.isclass(each) and issubclass(each, PhloOperator))


def test_an_operator_is_built_for_every_flag():
    every = set().union(*map(own_flags, all_operators()))
    assert every == set().union(*map(own_flags, BUILT))
    assert len(every) > 10


@pytest.mark.parametrize("value", ["False", "", 0, 1, None], ids=repr)
@pytest.mark.parametrize(
    ("operator", "flag"),
    [(operator, name) for operator in BUILT for name in sorted({n for _, n in own_flags(operator)})],
)
def test_an_operator_takes_true_and_false_only(operator, flag, value):
    with pytest.raises(ConfigurationError, match=f"{flag}={value!r}: give True or False"):
        operator(task_id="t", **{**BUILT[operator], flag: value})


@pytest.mark.parametrize("flag", ["validate", "strict_validation", "add_metadata_columns"])
def test_so_do_the_decorators(flag):
    with pytest.raises(ConfigurationError, match=f"@phlo_ingestion on rows: {flag}='no': give True or False"):

        @phlo_ingestion(**DECLARED, **{flag: "no"})
        def rows(): ...

    with pytest.raises(ConfigurationError, match="blocking='no'"):

        @phlo_quality("a", [CountCheck(min_count=1)], blocking="no")
        def checked(): ...


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("max_retries", True),
        ("retry_delay_seconds", -1),
        ("retry_delay_seconds", "30"),
        ("retry_delay_seconds", float("nan")),
        ("max_runtime_seconds", 0),
        ("max_runtime_seconds", "300"),
        ("max_runtime_seconds", None),
        ("max_runtime_seconds", float("inf")),
    ],
)
def test_limits_of_tasks_are_numbers_that_have_an_effect(limit, value):
    with pytest.raises(ConfigurationError, match=f"@phlo_ingestion on rows: {limit}={value!r}: give a"):

        @phlo_ingestion(**DECLARED, **{limit: value})
        def rows(): ...


def test_none_in_merge_config_stands_for_the_default():
    for strategy in ("merge", "append", "replace"):
        none = dict.fromkeys(("deduplication", "deduplication_method", "order_by", "hard_delete"))
        assert merge_plan(strategy, ("id",), none) == merge_plan(strategy, ("id",), {})
