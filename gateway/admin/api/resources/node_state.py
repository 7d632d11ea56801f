"""Shows how the gateway is, and the settings that it uses."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.admin.api.call import AdminCall
from gateway.admin.node import NodeStatus


class EffectiveConfig(msgspec.Struct, frozen=True):
    """Holds the settings in use, as `check` prints them; secrets are masked."""

    config: dict[str, Any]


async def show_health(call: AdminCall) -> NodeStatus:
    """Return how the gateway is now."""
    return call.node.status()


async def show_config(call: AdminCall) -> EffectiveConfig:
    """Return the settings that are in use."""
    return EffectiveConfig(call.node.config.as_data())
