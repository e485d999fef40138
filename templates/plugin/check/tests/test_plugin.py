"""The check."""

from __future__ import annotations

import pandas as pd
from plugin_module.quality import PluginClass


def test_values_below_the_limit_are_counted():
    result = PluginClass("value", 10).execute(pd.DataFrame({"value": [9, 10, 11, None]}))
    assert (result.passed, result.failed) == (False, 1)
    assert result.message == "1 of 3 values are below 10"


def test_no_values_pass():
    assert PluginClass("value", 10).execute(pd.DataFrame({"value": []})).passed
