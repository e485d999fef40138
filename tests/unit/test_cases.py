"""Every input that once went wrong has a test that is named after it, and its line in the docs."""

from __future__ import annotations

from tests.case_page import LAST, PAGE, find_tests, page


def test_every_case_has_a_test():
    assert set(find_tests()) == set(range(1, LAST + 1))


def test_the_page_is_that_of_the_tests():
    assert PAGE.read_text() == page(), "run: python -m tests.case_page"
