"""Lists that a server gives page by page, each naming the next: they must not lead back."""

from __future__ import annotations

from airflow_provider_phlo.exceptions import ConfigurationError


class PagesRead:
    """
    The pages of one list that were read, by what the server calls them.

    :param url: of the list.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._read = {""}  # the first has no name

    def turn_to(self, page: str) -> str:
        """
        Return the name of the next page.

        :raises ConfigurationError: it was read before: the list would have no end, or the rest of it be missed.
        """
        if page in self._read:
            raise ConfigurationError(
                f"{self._url} names a page as the next that was read before: the others would be missed. Is something "
                "between here and the server that answers in its place?"
            )
        self._read.add(page)
        return page
