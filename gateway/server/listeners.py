"""Opens, configures and checks the sockets that the gateway listens on."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gateway.config.settings import Config

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Holds the limits of the connections behind one entrypoint; times are in seconds.

    head_timeout: for the head of a request.
    write_timeout: for a client to acknowledge what was sent.
    send_buffer: bytes that the kernel buffers for a client; None leaves it to the system.
    max_connections: None allows as many as there are descriptors. In a process with several
        entrypoints only the first may have None.
    """

    head_timeout: float
    write_timeout: float
    send_buffer: int | None = None
    max_connections: int | None = None


def limits_of(config: Config) -> ListenerLimits:
    """Return the limits that the settings have for the gateway's own connections."""
    server = config.server
    return ListenerLimits(
        head_timeout=server.header_timeout,
        write_timeout=config.stream.write_timeout,
        send_buffer=server.send_buffer,
        max_connections=server.max_connections,
    )


def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Open a listening socket for every address of a host, all on one port. Raises OSError.

    host: `::` is every address of IPv6, and of IPv4 too. port: 0 chooses a free one.
    """
    # Two sockets: with one for both families, clients of IPv4 would have addresses of IPv6.
    found = [
        info
        for name in ((host, "0.0.0.0") if host == "::" else (host,))
        for info in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            name = where[0], port, *where[2:]
            sockets.append(socket.create_server(name, family=family, backlog=BACKLOG))
            port = sockets[0].getsockname()[1]
    except OSError:
        close_listeners(sockets)
        raise
    return sockets


def close_listeners(sockets: list[socket.socket]) -> None:
    """Close all of these sockets."""
    for listening in sockets:
        listening.close()


def set_user_timeout(listening: socket.socket, seconds: float) -> None:
    """Make the kernel close connections whose peer acknowledges nothing for this long.

    Accepted connections inherit the option. Only Linux has it; other systems keep their defaults.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def check_exposure(config: Config, addresses: list[str | tuple[str, int]]) -> None:
    """Check that the settings protect each of these addresses. Raises ConfigError if not.

    The addresses may differ from `server.host`: systemd passed the sockets, or a reload changed
    the setting. Unix sockets are not checked, since file permissions protect them.
    """
    for address in addresses:
        if not isinstance(address, (str, bytes)):
            config.listening_on(host=address[0], port=None)


def url_of(address: str | tuple[str, int]) -> str:
    """Return an address as a URL."""
    if isinstance(address, (str, bytes)):
        return f"unix:{address!s}"
    host, port = address[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
