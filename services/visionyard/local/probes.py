"""Asks a gRPC server whether it is ready, without its generated code: the two questions asked here have an empty request."""

from __future__ import annotations

import grpc

_TIMEOUT_S = 2.0
_YES = b"\x08\x01"
"""Field 1 = 1: ``status: SERVING`` of grpc.health.v1, and ``ready: true`` of Triton's ServerReady."""


def answers_yes(address: str, method: str) -> bool:
    """Whether the server at ``address`` answers ``method`` with yes, within about 2 s."""
    # No subchannel is shared with an earlier try, whose back-off would hide for seconds that the server is up by now.
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        try:
            return call(b"", timeout=_TIMEOUT_S) == _YES
        except grpc.RpcError:
            return False


def is_serving(address: str) -> bool:
    """Whether the server as a whole says SERVING (grpc.health.v1.Health/Check)."""
    return answers_yes(address, "/grpc.health.v1.Health/Check")
