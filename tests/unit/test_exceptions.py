"""The error tree: every error says its cause and cure, and ``docs/errors.md`` is made from that."""

from __future__ import annotations

import inspect

import pytest

from airflow_provider_phlo import exceptions
from airflow_provider_phlo.exceptions import PhloError, TerminalError, TransientError
from tests.error_page import PAGE, page

ERRORS = [
    error for _, error in inspect.getmembers(exceptions, inspect.isclass) if error.__module__ == exceptions.__name__
]


def test_the_page_is_what_the_script_makes():
    assert PAGE.read_text() == page(), "run: python -m tests.error_page"


@pytest.mark.parametrize("error", [error for error in ERRORS if error not in (PhloError, TerminalError)])
def test_every_error_says_its_cause_and_its_cure(error):
    paragraphs = [line.partition(":")[0] for line in inspect.cleandoc(error.__doc__).split("\n\n")]
    assert paragraphs[1:3] == ["Cause", "Cure"]


@pytest.mark.parametrize("error", [error for error in ERRORS if error is not PhloError])
def test_every_error_is_either_worth_a_retry_or_not(error):
    assert issubclass(error, TransientError) != issubclass(error, TerminalError)


@pytest.mark.parametrize("error", ERRORS)
def test_the_tree_in_the_docstring_is_complete(error):
    assert f" {error.__name__} " in exceptions.__doc__.replace("\n", " ")


def test_results_and_failures_travel_with_the_error():
    assert exceptions.ValidationError("bad", [1]).failures == (1,)
    assert exceptions.QualityCheckError("bad", [2]).results == (2,)
