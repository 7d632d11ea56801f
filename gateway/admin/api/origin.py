"""Decides whether a request comes from where it may: its Host, and the site that sent it.

A page of another site can make a browser send requests here, with the cookie of the session. A
site whose name resolves to this machine (DNS rebinding) even reads the answers; only the Host
header tells it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def is_own_host(host: str | None, base_url: str | None) -> bool:
    """Return whether a Host header names this admin API.

    These do: `localhost`, every address, and the name in `admin.base_url`. Another site has a
    name, so an address cannot be rebound. The port may be any, as behind `ssh -L`.
    """
    name = _host_name(host)
    if name is None:
        return False
    if name == "localhost" or (base_url is not None and name == _host_of_url(base_url)):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own_site(headers: Mapping[str, str], base_url: str | None) -> bool:
    """Return whether a browser's request that may change something comes from our own page.

    `Sec-Fetch-Site` decides. Without it, `Origin` must be that of `admin.base_url`, or of the
    Host, which `is_own_host` has checked.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("Origin")
    if origin is None:
        return False
    if base_url is not None and origin == _origin_of_url(base_url):
        return True
    return origin == f"http://{headers.get('Host', '')}".lower()


def is_local(host: str | None) -> bool:
    """Return whether a Host header is a name of this machine for browsers: a safe context."""
    name = _host_name(host)
    if name is None:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _host_name(host: str | None) -> str | None:
    """Return the name in a Host header, without brackets and port; None if it is malformed."""
    if not host:
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises ValueError
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname


def _host_of_url(url: str) -> str | None:
    return urlsplit(url).hostname


def _origin_of_url(url: str) -> str:
    """Return the origin of an address as browsers write it: without the scheme's own port."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}" + ("" if parts.port in (None, usual) else f":{parts.port}")
