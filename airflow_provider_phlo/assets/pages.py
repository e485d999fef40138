"""What Airflow's page of a table's asset says of it: description, key, columns and checks, as its producer declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality import QualityCheck

Page = dict[str, Any]


def page(
    description: str | None,
    key: str | Sequence[str] | None,
    columns: Mapping[str, str],
    checks: Iterable[str],
    **more: Any,
) -> Page:
    """
    Return the extra of an asset: what is not known is left out.

    :param description: the first paragraph is kept.
    :param columns: the type of each column, empty where it is not known.
    :param checks: what is checked before rows are published.
    :param more: further lines.
    """
    lines: Page = {
        "description": " ".join((description or "").partition("\n\n")[0].split()),
        "key": ", ".join(names_of(key or ())),
        **more,
        "columns": [f"{name}: {kind}" if kind else name for name, kind in columns.items()],
        "checks": list(checks),
    }
    return {name: value for name, value in lines.items() if value}


def check_lines(checks: Iterable[QualityCheck]) -> list[str]:
    """Return a line per check: its name, and what it expects."""
    return [_check_line(check) for check in checks]


def _check_line(check: QualityCheck) -> str:
    expected = check.expectation()
    line = f"{check.check_name()}: {expected}" if expected else check.check_name()
    return line if check.severity == "error" else f"{line} ({check.severity})"


def model_page(model: Mapping[str, Any]) -> Page:
    """
    Return the extra of the asset of a dbt model.

    :param model: its node in what :mod:`airflow_provider_phlo.dbt.manifest` renders.
    """
    columns = {name: str(column.get("data_type") or "") for name, column in model.get("columns", {}).items()}
    key, tests = model["config"].get("unique_key"), model.get("phlo_tests", ())
    return page(
        model.get("description"),
        key,
        columns,
        tests,
        made_by=f"dbt model {model['name']}",
        path=model.get("original_file_path"),
        tags=list(model.get("tags", ())),
    )
