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
