"""Which Airflow a command talks to."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.supervising.airflow_login import PASSWORD, TOKEN, URL, USER, connect


@pytest.mark.parametrize("login", [{TOKEN: "geheim"}, {USER: "ada", PASSWORD: "geheim"}])
def test_a_login_without_an_address_is_not_for_the_services_of_this_machine(login: dict[str, str]) -> None:
    name = next(iter(login))
    with pytest.raises(
        ConfigurationError, match=f"{name} is set, and nothing says for which Airflow: set {URL}"
    ) as found:
        connect(None, login)
    assert "geheim" not in str(found.value)


@pytest.mark.parametrize("login", [{}, {TOKEN: "geheim"}, {USER: "ada"}, {USER: "ada", PASSWORD: "geheim"}])
@pytest.mark.parametrize("address", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://ada:geheim@127.0.0.1:1", "http://"])
def test_a_wrong_address_is_refused_whatever_the_login(address: str, login: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="The address of Airflow is not a URL such as https://") as found:
        connect(address, login)
    assert "geheim" not in str(found.value)
