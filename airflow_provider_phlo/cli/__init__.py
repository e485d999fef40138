"""
The command line: ``airflow phlo …`` and ``phlo …``, one module per group of commands.

:mod:`.definition` declares all commands as data and imports next to nothing, because every ``airflow`` call loads it.
"""
