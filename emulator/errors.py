"""Builds errors in the forms of Fitten and of the proxy in front of it."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web


def server_error() -> web.Response:
    """Return the 500 of a Python web framework: plain text."""
    return web.Response(status=500, text="Internal Server Error")


def detail(status: int, text: str) -> web.Response:
    """Return an error in the framework's shape: `{"detail": text}`."""
    return web.json_response({"detail": text}, status=status)


def missing_field(name: str) -> web.Response:
    """Return the 422 of the framework's body validation."""
    problem = {"loc": ["body", name], "msg": "field required", "type": "value_error.missing"}
    return web.json_response({"detail": [problem]}, status=422)


NGINX_TITLES = {
    500: "500 Internal Server Error",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}


def nginx_page(status: int) -> str:
    """Return the error page of the proxy in front of the service."""
    title = NGINX_TITLES.get(status) or f"{status} {_phrase(status)}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx/1.18.0</center>\r\n"
        "</body>\r\n</html>\r\n"
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
