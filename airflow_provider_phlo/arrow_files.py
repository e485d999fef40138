"""PyArrow's file systems for Airflow's paths, with all folders of a bucket."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.arrow import ArrowFSWrapper


class ArrowFiles(ArrowFSWrapper):
    """
    A file system of PyArrow's.

    Of Google Cloud Storage, PyArrow lists only those folders that have an object of their own: one that is there
    because of its files, as other programs make it, is left out. Its files are listed where all below a folder are.
    """

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        """Return what is in a folder."""
        if self.fs.type_name != "gcs":
            return super().ls(path, detail, **kwargs)
        from pyarrow.fs import FileSelector

        folder = self._strip_protocol(path)
        entries: dict[str, dict[str, Any]] = {}
        try:
            for found in self.fs.get_file_info(FileSelector(folder, recursive=True)):
                child, _, below = found.path.rstrip("/")[len(folder) :].lstrip("/").partition("/")
                name = f"{folder}/{child}"
                if below:
                    entries.setdefault(name, {"name": name, "size": None, "type": "directory", "mtime": None})
                elif child:
                    entries[name] = {**self._make_entry(found), "name": name}
        except (FileNotFoundError, NotADirectoryError):
            return super().ls(path, detail, **kwargs)
        return list(entries.values()) if detail else list(entries)
