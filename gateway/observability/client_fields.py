"""Decides what log lines say of clients: `log.client`."""

from __future__ import annotations

from typing import Any, Literal

from structlog.typing import EventDict, Processor

from gateway.redaction import shown_user_agent, user_agent_family

_NO_FAILURE = (None, "client_closed_request")


def client_processor(shown: Literal["full", "family", "none"]) -> Processor:
    """Return the processor that keeps, shortens or removes what a line says of its client.

    It sees the fields `address`, `addresses` and `user_agent` of any line, also of lines of
    other middlewares.
    """
    return {"full": _full, "family": _family, "none": _none}[shown]


def _full(_: Any, __: str, event: EventDict) -> EventDict:
    agent = event.get("user_agent")
    if agent is not None:
        event["user_agent"] = shown_user_agent(agent)
    return event


def _family(_: Any, __: str, event: EventDict) -> EventDict:
    agent = event.get("user_agent")
    if agent is not None:
        event["user_agent"] = user_agent_family(agent)
    if event.get("cause", "no request") in _NO_FAILURE:
        event.pop("address", None)
    return event


def _none(_: Any, __: str, event: EventDict) -> EventDict:
    for name in ("address", "addresses", "user_agent"):
        event.pop(name, None)
    return event
