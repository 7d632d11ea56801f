"""Finds the address of a client behind proxies, and the group of addresses it can choose from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_HOPS = 32  # addresses of X-Forwarded-For that are examined
_CUSTOMER_PREFIX = 64  # bits of an IPv6 address that one customer usually has (RFC 6177)


class TrustedProxies:
    """Says which client a proxy speaks for.

    networks: such as `10.0.0.0/8` or one address; only proxies in them are believed.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [parse_network(network) for network in networks]

    def client_of(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return the address of the client.

        peer: the other end of the connection; None or empty when it has no address.
        forwarded_for: the values of X-Forwarded-For. A client can write anything into them, so
            only what trusted proxies added at the end counts: the last address that is not
            trusted itself. What cannot be read ends the search.
        """
        client = peer or ""
        if not self._networks or not self._is_trusted(client):
            return client
        hops = ",".join(forwarded_for).rsplit(",", _MAX_HOPS)
        for hop in reversed(hops[-_MAX_HOPS:]):
            address = _parse(hop)
            if address is None:
                break
            client = str(address)
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._networks)


def parse_network(text: str) -> _Network:
    """Parse a network or one address. Raises ValueError, also if bits follow the network's."""
    return ipaddress.ip_network(text.strip())


def address_group(address: str) -> str:
    """Return what stands for all addresses that a client can choose from.

    That is the /64 network of an IPv6 address; other texts stand for themselves.
    """
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed.packed, _CUSTOMER_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


def _parse(text: str) -> _Address | None:
    """Parse an address, perhaps with a port; an IPv4 address within IPv6 becomes IPv4."""
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
