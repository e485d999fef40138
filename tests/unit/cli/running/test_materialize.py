"""What ``phlo materialize`` refuses before anything is started."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.cli.main import main
from airflow_provider_phlo.cli.running.backfill import _summary
from airflow_provider_phlo.cli.running.materialize import one_day
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.backfilling import DayProgress
from tests.unit.materializing.scheduler import Scheduler, serving

BACKFILL = ["--start-date", "2024-01-01", "--end-date", "2024-01-02"]


def test_the_day_is_in_the_option_or_in_the_conf() -> None:
    day = "2024-02-02"
    assert one_day(None, {}) is None
    assert one_day(day, {}) == one_day(None, {"partition_date": day}) == one_day(day, {"partition_date": day}) == day
    with pytest.raises(ConfigurationError, match="--conf says partition_date 2024-02-02, and --partition 2024-02-03"):
        one_day("2024-02-03", {"partition_date": day})
    for wrong in ("yesterday", 3, ["2024-02-02"]):
        with pytest.raises(ConfigurationError, match=r"partition_date in --conf: .* is not a date"):
            one_day(None, {"partition_date": wrong})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["materialize", "raw.a", "--partition", "2999-01-01"], "--partition 2999-01-01 lies in the future"),
        (["materialize", "raw.a", "--conf", '{"partition_date": "2999-01-01"}'], "2999-01-01 lies in the future"),
        (["materialize", "raw.a", "--partition", "2024-02-30"], "--partition: the calendar has no day 2024-02-30"),
        (["materialize", "raw.a", "--partition", "2019-12-31"], "shop begins on 2020-01-01 (start_date"),
        (["backfill", "raw.a", "--start-date", "2019-12-31", "--end-date", "2020-01-02"], "of it for 2019-12-31"),
        (["materialize", "raw.a", "--dag", "shp"], "Airflow does not have this DAG. Did you mean shop?"),
        (["backfill", "raw.a", *BACKFILL, "--conf", '{"partition_date": "2024-01-01"}'], "each day of a backfill has"),
    ],
)
def test_nothing_is_started(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHLO_AIRFLOW_TOKEN", "test")
    with serving(scheduler := Scheduler()) as api:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--api-url", api.url])
        assert (ended.value.code, scheduler.runs) == (2, {})
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("catchup", [False, True])
def test_a_dry_run_refuses_what_the_run_would_and_unpauses_nothing(
    catchup: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHLO_AIRFLOW_TOKEN", "test")
    scheduler = Scheduler(is_paused=True)
    scheduler.dag["catchup"] = catchup
    with serving(scheduler) as api:
        arguments = ["backfill", "raw.a", *BACKFILL, "--dry-run", "--api-url", api.url]
        if catchup:
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == 2
        else:
            main(arguments)
    assert (scheduler.dag["is_paused"], scheduler.runs) == (True, {})
    said = "--unpause unpauses it" if catchup else "shop is paused, and would be unpaused."
    assert said in capsys.readouterr().err


def test_rows_are_counted_where_something_says_how_many() -> None:
    """A task that says nothing of rows may have changed any number of them."""
    silent, none, some = (DayProgress("2024-01-01", "success", rows) for rows in (None, 0, 1200))
    assert _summary([silent, silent]) == "2 days done, 0 failed."
    assert _summary([silent, none]) == "2 days done, 0 failed; 0 rows changed."
    nothing_to_do = DayProgress("2024-01-02", "skipped")
    assert _summary([silent, nothing_to_do]) == "1 day done, 0 failed, 1 with nothing to do."
    assert _summary([silent, some]) == "2 days done, 0 failed; 1,200 rows changed."
