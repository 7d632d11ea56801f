"""Declares the parameters that only OpenAI's routes share; offers those of all routes."""

from __future__ import annotations

import msgspec

from gateway.apis.parameters import (
    WholeNumber,
    ignored_parameters,
    missing_parameter,
    stop_strings,
    unsupported,
    whole_number,
)

__all__ = [
    "StreamOptions",
    "WholeNumber",
    "ignored_parameters",
    "missing_parameter",
    "stop_strings",
    "unsupported",
    "whole_number",
]


class StreamOptions(msgspec.Struct):
    """Declares the `stream_options` of a request."""

    include_usage: bool | None = None
