"""
What a contract promises of columns and rows, as checks.

:mod:`.checks` and :mod:`.columns_check` make them; one scan of the table answers all that count values.
"""
