"""Serves OpenAI's API in front of Fitten Code.

The author of a middleware may import the names in `__all__`; see docs/middlewares.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "GENERATION",
    "KEY_CHECKS",
    "KEY_DIRECTORY",
    "KEY_NAME",
    "LIMIT_DEFAULTS",
    "OUTCOME",
    "PATH_KEY",
    "PRINCIPAL",
    "REQUEST_ID",
    "RESPONSE_HEADERS",
    "WINDOWS",
    "Amount",
    "Between",
    "GatewayError",
    "Handler",
    "InvalidRequest",
    "KeyBlocked",
    "KeyExpired",
    "LimitOptions",
    "Outcome",
    "Principal",
    "RateLimited",
    "Secret",
    "Unauthorized",
    "Window",
    "address_group",
    "caller_of",
    "client_address",
    "is_request_id",
    "logged_method",
    "masked_key",
    "parse_key_text",
    "principal_of",
    "set_principal",
]

if TYPE_CHECKING:
    from gateway.errors import (
        GatewayError,
        InvalidRequest,
        KeyBlocked,
        KeyExpired,
        RateLimited,
        Unauthorized,
    )
    from gateway.generation.outcome import Outcome
    from gateway.keys.key_text import parse_key_text
    from gateway.limits.options import LimitOptions
    from gateway.middleware import (
        GENERATION,
        KEY_CHECKS,
        KEY_DIRECTORY,
        KEY_NAME,
        LIMIT_DEFAULTS,
        OUTCOME,
        PATH_KEY,
        PRINCIPAL,
        REQUEST_ID,
        RESPONSE_HEADERS,
        WINDOWS,
        Handler,
        caller_of,
        client_address,
        principal_of,
        set_principal,
    )
    from gateway.options import Amount, Between, Secret
    from gateway.principal import Principal
    from gateway.redaction import is_request_id, logged_method, masked_key
    from gateway.store.rate_windows import Window
    from gateway.trusted_proxies import address_group


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `--help` does not load aiohttp."""
    if name not in __all__:
        raise AttributeError(f"module 'gateway' has no attribute {name!r}")
    from gateway import errors, middleware, options, principal, redaction, trusted_proxies
    from gateway.keys import key_text
    from gateway.limits import options as limits
    from gateway.store import rate_windows

    modules = (errors, middleware, options, key_text, limits, principal, rate_windows, redaction)
    for module in (*modules, trusted_proxies):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(name)
