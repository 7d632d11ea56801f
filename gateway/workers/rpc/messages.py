"""Defines the messages of the RPC itself; those of a service are in the file of the service."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from gateway.workers.rpc.error_record import ErrorRecord


class RpcMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Marks every message. One that is neither request nor response is a notification.

    The name of the class identifies the message in the channel.
    """


class RpcResponse(RpcMessage, frozen=True):
    """Responds to the request with this number."""

    call: int


R_co = TypeVar("R_co", bound=RpcResponse, covariant=True)


class RpcRequest(RpcMessage, Generic[R_co], frozen=True):
    """Requests a response, whose type stands in brackets: `RpcRequest[SlotGranted]`.

    call: the number of the request, unique at the end that sends it; see `RpcPeer.next_call_id`.
    """

    call: int


class CancelRequest(RpcMessage, frozen=True):
    """Cancels a request. What was granted for it is released."""

    call: int


class RpcFailed(RpcResponse, frozen=True):
    """Reports that the request failed."""

    failure: ErrorRecord
