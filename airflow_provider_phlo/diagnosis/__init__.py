"""
Diagnosis: whether a project's machine, packages, folders and files are as its runs need them, and what to do if not.

A check is a function that yields :class:`Finding`; it changes nothing. What needs an Airflow connection is in the
command itself.
"""

from airflow_provider_phlo.diagnosis.findings import Check, Finding, Verdict, guarded

__all__ = ["Check", "Finding", "Verdict", "guarded"]
