"""What the client raises: one class, with the code, the reason, a sentence and the metadata of the server's answer or of the client's own finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from google.rpc import status_pb2

from visionyard.kit.errors import Code, FieldViolation, Reason, YardError
from visionyard.kit.status import ReceivedError, from_rpc_error, from_status

NO_SERVER = "NO_SERVER"
"""The reason of :class:`NoServer`; made by the client, never by a server."""
_MAX_MESSAGE = 2_000


@dataclass(eq=False)
class ClientError(Exception):
    """Why a call, a transfer or a job did not succeed.

    Attributes:
        code: gRPC's canonical status code.
        reason: Why, for programs: a name of ``visionyard.errors.v1.ErrorReason`` without its prefix. Empty where the server gave none.
        message: What happened, where, and what to do: one sentence.
        metadata: What goes with the reason.
        violations: The request's fields at fault.
        retry_after_s: When to try again, in seconds; None where the server said nothing of it.
        attempts: How often the call was made before it was given up.
    """

    code: Code
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None
    attempts: int = 1

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, object]:
        """The form in which the command line prints it: code, reason, message, metadata."""
        message = self.message if len(self.message) <= _MAX_MESSAGE else f"{self.message[: _MAX_MESSAGE - 3]}..."
        return {"code": self.code.name, "reason": self.reason, "message": message, "metadata": dict(self.metadata)}


class NoServer(ClientError):
    """No server could be reached at the address."""


class JobFailed(ClientError):
    """A job that was waited for failed; code, reason and message are those of its status."""


class JobCancelled(ClientError):
    """A job that was waited for was cancelled."""


def local(reason: Reason, message: str, metadata: Mapping[str, str] | None = None) -> ClientError:
    """An error that the client finds by itself, with a reason of the catalogue."""
    return ClientError(reason.code, reason.name, message, metadata or {})


def from_yard_error(error: YardError) -> ClientError:
    """An error of the shared domain code (names, pictures) as the client raises it."""
    return ClientError(error.reason.code, error.reason.name, error.message, error.metadata, error.violations, error.retry_after_s)


def from_received(received: ReceivedError, attempts: int = 1) -> ClientError:
    """An error that came over the wire."""
    message = received.message or f"the server answered {received.code.name} and gave no reason"
    return ClientError(
        received.code, received.reason, message, received.metadata, received.violations, received.retry_after_s, attempts=attempts
    )


def from_call(error: grpc.RpcError, attempts: int = 1) -> ClientError:
    """The error that a call raised."""
    return from_received(from_rpc_error(error), attempts)


def job_failed(status: status_pb2.Status) -> JobFailed:
    """The error that stands in a failed job's status."""
    received = from_status(status)
    return JobFailed(received.code, received.reason, received.message, received.metadata, received.violations)
