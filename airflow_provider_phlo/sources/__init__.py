"""
Public APIs as dlt sources, and the HTTP client that they share.

A source is a function of plain values that returns a ``DltSource``; ``connection_arguments`` beside it reads those
values from an Airflow connection.
"""
