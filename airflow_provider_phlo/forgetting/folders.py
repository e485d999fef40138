"""Remove folders that are empty now: that of a partition has its values in its name, which may be a person's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from pyarrow.fs import FileSelector
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO


def remove_empty_folders(io: FileIO, location: str, files: Iterable[str]) -> None:
    """
    Remove the folders of files that are gone, and those around them, as far as they are empty.

    Object stores have no folders, but Arrow marks some there by objects of their names; fsspec does not.

    :param location: that of the table, which stays.
    """
    if not isinstance(io, PyArrowFileIO):
        return
    scheme, netloc, path = io.parse_location(location, io.properties)
    store, root = io.fs_by_scheme(scheme, netloc), PurePosixPath(path)
    # only rmdir refuses a folder into which somebody has just written
    remove = os.rmdir if scheme == "file" else store.delete_dir
    for file in files:
        folder = PurePosixPath(io.parse_location(file, io.properties)[2]).parent
        while root in folder.parents:
            try:
                if store.get_file_info(FileSelector(str(folder))):
                    break
                remove(str(folder))
            except OSError:  # gone, or not empty any more
                pass
            folder = folder.parent
