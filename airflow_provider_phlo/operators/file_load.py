"""Load a folder of files into DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_provider_phlo.catalogs.openlineage.work import Work

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "none", "")


class FileLoadOperator(PhloOperator):
    """
    Load the batches of public events that are new in a folder into a DuckDB file, each exactly once.

    ::

        FileLoadOperator(task_id="load")

    Its result is that of :func:`airflow_provider_phlo.files.loading.load_files`, also where files failed. What is
    loaded is published to readers, who never open the database.

    :param folder: the batches: an absolute path, or a URL such as ``s3://conn_id@bucket/raw`` (templated); ``RAW_DIR``
        when None.
    :param database: the DuckDB file, absolute (templated); ``DUCKDB_PATH`` when None.
    :param verify: hash every file, also those that have kept their size and time of change since they were loaded;
        and compare what is published with what is loaded.
    :param wait_seconds: how long to wait for others who have the database open.
    """

    template_fields: Sequence[str] = ("folder", "database", "verify")

    def __init__(
        self,
        *,
        folder: str | None = None,
        database: str | None = None,
        verify: bool | str = False,
        wait_seconds: float = 60.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", self.default_outlets({"database": database}))
        super().__init__(**kwargs)
        self.folder = folder
        self.database = database
        self.verify = verify
        self.wait_seconds = wait_seconds

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the database, if its path is known already."""
        from airflow.sdk import Asset

        path = str(arguments.get("database") or "")
        if not path.startswith("/") or "{{" in path:
            return []
        return [Asset(name=f"duckdb:{path}", uri=f"file://{path}")]

    def work(self) -> Work:
        """Return the folder, and the database with how many events were inserted."""
        from airflow_provider_phlo import settings
        from airflow_provider_phlo.catalogs.openlineage.work import Counts, Read, Work, Written
        from airflow_provider_phlo.events.paths import event_paths
        from airflow_provider_phlo.lineage.datasets import dataset_of

        paths = event_paths(settings.home())
        folder, database = str(self.folder or paths.raw), str(self.database or paths.database)
        rows = (self.result or {}).get("inserted_events")
        return Work((Read(dataset_of(_without_login(folder))),), (Written(dataset_of(database), counts=Counts(rows)),))

    def run(self, context: Context) -> dict[str, Any]:
        """
        Load what is new.

        :raises ConfigurationError: there is no such folder, or the database is not one that can be read.
        :raises FilesFailedError: some files could not be loaded; all others were.
        :raises TransientError: the database is locked, the disk is full, or a file was written to while it was read.
        """
        from airflow_provider_phlo import settings
        from airflow_provider_phlo.events.loading import load_and_publish
        from airflow_provider_phlo.events.paths import event_paths
        from airflow_provider_phlo.exceptions import FilesFailedError
        from airflow_provider_phlo.object_store import open_folder

        paths = event_paths(settings.home(), folder=self.folder, database=self.database)
        folder, database = paths.raw, paths.database
        options: dict[str, Any] = {"verify": _is_yes(self.verify), "wait_seconds": self.wait_seconds}
        try:
            result = load_and_publish(open_folder(folder), database, **options)
        except FilesFailedError as error:
            # what was loaded is there: who waits for the counts gets them
            context["ti"].xcom_push(key="return_value", value=error.result.to_json())
            raise
        self.log.info("%s is loaded into %s: %s", folder, database, result.to_json())
        if result.loaded_files:
            return result.to_json()
        why = "all files were loaded before" if result.scanned_files else "there are no files"
        alone = f"; {result.other_files} of other names are left alone" if result.other_files else ""
        return {**result.to_json(), NOTHING_TO_DO: f"{_without_login(str(folder))}: {why}{alone}"}


def _without_login(url: str) -> str:
    """Return a URL without the connection, or whatever else stands before the @."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _is_yes(value: bool | str) -> bool:
    """
    Return what a flag says that may have been a template.

    :raises ConfigurationError: it is neither yes nor no.
    """
    from airflow_provider_phlo.exceptions import ConfigurationError

    word = str(value).strip().lower()
    if word not in (*_YES, *_NO):
        raise ConfigurationError(f"verify is {value!r}: give true or false.")
    return word in _YES
