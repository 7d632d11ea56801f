from __future__ import annotations

import pytest

from gateway.admin.api.origin import is_local, is_own_host, is_own_site

BASE = "https://Admin.Example.org:8443/team"


@pytest.mark.parametrize(
    ("host", "base_url", "own"),
    [
        ("localhost", None, True),
        ("LOCALHOST:5001", None, True),
        ("127.0.0.1:5001", None, True),
        ("[2001:db8::1]:5001", None, True),
        ("[::1]", None, True),
        ("admin.example.org", BASE, True),
        ("ADMIN.example.org:443", BASE, True),
        ("admin.example.org", None, False),
        ("other.example.org", BASE, False),
        ("localhost.", None, False),
        ("0x7f000001", None, False),
        ("2001:db8::1", None, False),
        ("[::1", None, False),
        ("localhost:99999", None, False),
        ("a@localhost", None, False),
        ("localhost/x", None, False),
        ("localhost?x", None, False),
        ("localhost#x", None, False),
        ("", None, False),
        (None, None, False),
    ],
)
def test_a_host_is_an_address_localhost_or_the_configured_name(
    host: str | None, base_url: str | None, own: bool
) -> None:
    assert is_own_host(host, base_url) is own


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://admin.example.org:8443"}, False),
        ({"Sec-Fetch-Site": "SAME-ORIGIN"}, False),
        ({"Sec-Fetch-Site": ""}, False),
        ({"Origin": "https://admin.example.org:8443"}, True),
        ({"Origin": "https://admin.example.org"}, False),
        ({"Origin": "http://localhost:5001"}, True),
        ({"Origin": "https://localhost:5001"}, False),
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "null"}, False),
        ({"Referer": "http://localhost:5001/"}, False),
        ({}, False),
    ],
)
def test_a_request_is_from_the_own_page_if_the_browser_says_so(
    headers: dict[str, str], own: bool
) -> None:
    assert is_own_site({"Host": "localhost:5001", **headers}, BASE) is own


def test_the_schemes_own_port_is_not_in_an_origin() -> None:
    assert is_own_site({"Origin": "https://a.example"}, "https://a.example:443/")
    assert is_own_site({"Origin": "http://[2001:db8::1]"}, "http://[2001:db8::1]:80")


def test_names_of_this_machine_are_safe_without_tls() -> None:
    hosts = ("localhost:5001", "127.0.0.2", "[::1]:1")
    assert [is_local(host) for host in hosts] == [True] * 3
    assert [is_local(host) for host in ("192.0.2.1", "a.localhost", None)] == [False] * 3
