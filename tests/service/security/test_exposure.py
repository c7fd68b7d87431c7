"""A server opens to a network only with TLS and principals, or when somebody insists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.security.exposure import is_loopback
from service.settings import Settings, SettingsError, load_settings

TLS = {"tls_certificate": Path("c.pem"), "tls_key": Path("k.pem")}
KNOWN = {"principals": Path("p.toml")}
OPEN_HOSTS = ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "example.org", ""]


@pytest.mark.parametrize("host", OPEN_HOSTS)
@pytest.mark.parametrize("given", [{}, TLS, KNOWN], ids=["nothing", "TLS", "principals"])
def test_a_host_that_others_reach_needs_tls_and_principals(
    host: str, given: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match=r"OFFPATH_HOST .* Found .* OFFPATH_INSECURE=true"):
        load_settings(host=host, **given)


@pytest.mark.parametrize("host", OPEN_HOSTS)
@pytest.mark.parametrize("given", [{**TLS, **KNOWN}, {"insecure": True}], ids=["both", "insecure"])
def test_with_both_or_on_purpose_it_opens(host: str, given: dict[str, Any]) -> None:
    assert load_settings(host=host, **given).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
@pytest.mark.parametrize("given", [{}, TLS, KNOWN])
def test_on_this_machine_neither_is_needed(host: str, given: dict[str, Any]) -> None:
    assert is_loopback(load_settings(host=host, **given).host)


@pytest.mark.parametrize(
    "given",
    [
        {"tls_certificate": Path("c.pem")},
        {"tls_key": Path("k.pem")},
        {"tls_client_ca": Path("ca.pem")},
        {"log_format": "xml"},
        {"log_level": "loud"},
    ],
)
def test_settings_that_do_not_fit_together_are_one_clear_error(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="Found"):
        load_settings(**given)


def test_the_default_stays_on_this_machine_and_knows_nobody() -> None:
    settings = Settings()
    assert is_loopback(settings.host)
    assert settings.certificate_files() is None
    assert settings.principals is None
