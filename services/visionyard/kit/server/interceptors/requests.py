"""What comes in is bounded and well-formed, or refused with a reason.

gRPC's own limit on a message ends the call inside its core, before any handler, and without details. So gRPC's limit is set some way above ours, and ours
is kept here, where a refusal can say what the limit is (REQUEST_TOO_LARGE with ``size_bytes`` and ``limit_bytes``). What lies above gRPC's limit as well gets
its bare RESOURCE_EXHAUSTED, which the client gives the same reason (``kit/status.py``).

Deserialising happens before a handler runs, and its exceptions would reach the client as they are; so what cannot be read becomes a
:class:`RefusedRequest`, which the chain raises inside its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from visionyard.kit.errors import Reason, YardError

CORE_HEADROOM_BYTES = 16 * 1024 * 1024
"""How far gRPC's own limit lies above ours: so much more of a message is received only to be refused politely."""


@dataclass(frozen=True)
class RefusedRequest:
    """Stands for a message that was not taken."""

    error: YardError


def guarded(deserialize: Callable[[bytes], Any] | None, limit_bytes: int) -> Callable[[bytes], Any]:
    """A deserialiser that never raises for what strangers send.

    Args:
        deserialize: The generated message's ``FromString``; None where the handler takes bytes.
        limit_bytes: The largest message that is taken.
    """

    def read(data: bytes) -> Any:
        if len(data) > limit_bytes:
            return RefusedRequest(
                YardError(
                    Reason.REQUEST_TOO_LARGE,
                    f"the request has {len(data)} bytes, but at most {limit_bytes} are taken at once: send less",
                    {"size_bytes": str(len(data)), "limit_bytes": str(limit_bytes)},
                )
            )
        if deserialize is None:
            return data
        try:
            return deserialize(data)
        except DecodeError:
            return RefusedRequest(
                YardError(Reason.INVALID_FIELD, "the request is not a message of the type that this method takes", {"field": ""})
            )

    return read
