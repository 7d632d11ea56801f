"""Serves `/`, so that a browser or `curl` at the base URL learns what it has reached."""

from __future__ import annotations

from aiohttp import web

_WHAT = "an OpenAI-compatible gateway in front of Fitten Code."
_TEXT = f"""\
fitten-gateway: {_WHAT}
It has no page to chat on. Clients use the base URL /v1 and a key of this gateway.
Whether it can serve now: /ready
"""
_HTML = f"""\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>fitten-gateway</title></head>
<body>
<h1>fitten-gateway</h1>
<p>This is {_WHAT}</p>
<p>It has no page to chat on.
Clients use the base URL <code>/v1</code> and a key of this gateway.</p>
<p><a href="/ready">/ready</a> says whether it can serve now.</p>
</body>
</html>
"""
_HEADERS = {"Vary": "Accept", "Content-Security-Policy": "default-src 'none'"}


async def start_page(request: web.Request) -> web.StreamResponse:
    """Answer HTML where the client names it in `Accept`, as browsers do, else plain text."""
    html = "text/html" in request.headers.get("Accept", "").lower()
    return web.Response(
        text=_HTML if html else _TEXT,
        content_type="text/html" if html else "text/plain",
        charset="utf-8",
        headers=_HEADERS,
    )
