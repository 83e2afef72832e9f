"""Errors on the wire: :class:`YardError` to ``google.rpc.Status`` and back, for the server, for jobs and for the client.

Details: ``ErrorInfo`` (always; domain ``visionyard``), ``BadRequest`` where fields are at fault, ``RetryInfo`` where trying again helps; and, made of
the reason and its metadata for programs that know Google's details only, ``ResourceInfo``, ``PreconditionFailure`` or ``QuotaFailure``.
https://google.aip.dev/193, google/rpc/error_details.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from visionyard.kit.errors import Code, FieldViolation, Reason, YardError, encodable

DOMAIN = "visionyard"
"""The ``ErrorInfo`` domain of every reason of the catalogue."""
DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries a serialised ``google.rpc.Status``."""
MAX_METADATA_BYTES = 65_536
"""What servers and clients set ``grpc.max_metadata_size`` to; gRPC's own 8 KiB could drop an error with its details."""

_MAX_MESSAGE = 2_000
_MAX_VALUE = 500
_MAX_ENTRIES = (32, 8, 2)
_MAX_STATUS_BYTES = 24 * 1024
"""With the message a second time as grpc-message, percent-encoded, and base64's third, this stays below MAX_METADATA_BYTES."""
_FRAME_BYTES = 8
_TYPES = {
    Reason.DATASET_NOT_FOUND: "visionyard.dataset.v1.Dataset",
    Reason.DATASET_VERSION_NOT_FOUND: "visionyard.dataset.v1.DatasetVersion",
    Reason.MODEL_NOT_FOUND: "visionyard.training.v1.Model",
    Reason.MODEL_VERSION_NOT_FOUND: "visionyard.training.v1.ModelVersion",
    Reason.ARTIFACT_NOT_FOUND: "visionyard.export.v1.Artifact",
    Reason.DEPLOYMENT_NOT_FOUND: "visionyard.inference.v1.Deployment",
    Reason.CHANNEL_NOT_FOUND: "visionyard.training.v1.NotificationChannel",
    Reason.PRESET_NOT_FOUND: "visionyard.training.v1.Preset",
    Reason.UPLOAD_NOT_FOUND: "visionyard.transfer.v1.Upload",
    Reason.FILE_NOT_FOUND: "visionyard.transfer.v1.StoredFile",
}
"""The message of the resource that a reason is about."""
_COLLECTIONS = {
    "importJobs": "visionyard.dataset.v1.ImportJob",
    "trainingJobs": "visionyard.training.v1.TrainingJob",
    "exportJobs": "visionyard.export.v1.ExportJob",
    "evaluationJobs": "visionyard.training.v1.EvaluationJob",
    "tuningJobs": "visionyard.training.v1.TuningJob",
    "deployments": "visionyard.inference.v1.Deployment",
    "notificationChannels": "visionyard.training.v1.NotificationChannel",
    "presets": "visionyard.training.v1.Preset",
}
"""The same by the collection in the resource's name, for reasons that are about several."""
_PRECONDITIONS = frozenset(
    {
        Reason.UPLOAD_INCOMPLETE,
        Reason.JOB_FINISHED,
        Reason.DEPLOYMENT_NOT_READY,
        Reason.DATASET_IN_USE,
        Reason.COLLECTION_RUNNING,
        Reason.MESSAGE_NOT_DELIVERED,
    }
)
_QUOTAS = {
    Reason.OVERLOADED: "service",
    Reason.REQUEST_TOO_LARGE: "request",
    Reason.DISK_FULL: "disk",
    Reason.QUOTA_EXCEEDED: "project",
    Reason.TOO_MANY_CHANNELS: "project",
}
"""Of what there is too little; the metadata of DISK_FULL and QUOTA_EXCEEDED may say it better."""
_GRPC_TOO_LARGE = "larger than max"
_GRPC_SEND_FAILED = "Internal error from Core"


def _short(text: str, limit: int) -> str:
    text = encodable(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def to_status(error: YardError) -> status_pb2.Status:
    """The error as it travels. Over-long texts and lists are cut, so that it fits the trailing metadata."""
    for entries in _MAX_ENTRIES:
        status = _build_status(error, entries)
        if status.ByteSize() <= _MAX_STATUS_BYTES:
            break
    specific = _specific(error)
    if specific is not None:
        detail = any_pb2.Any()
        detail.Pack(specific)
        # It says nothing that ErrorInfo does not say, so it goes where there is no room.
        if status.ByteSize() + detail.ByteSize() + _FRAME_BYTES <= _MAX_STATUS_BYTES:
            status.details.append(detail)
    return status


def _specific(error: YardError) -> Any:
    """Google's detail for this kind of error, or None where there is none."""
    name, description = _short(error.metadata.get("name", ""), _MAX_VALUE), _short(error.message, _MAX_VALUE)
    if error.reason.code in {Code.NOT_FOUND, Code.ALREADY_EXISTS} and error.reason is not Reason.REQUEST_ID_REUSED:
        if error.reason is Reason.FILE_NOT_FOUND:
            name = _short("/".join(filter(None, (name, error.metadata.get("path", "")))), _MAX_VALUE)
        return error_details_pb2.ResourceInfo(resource_type=_resource_type(error), resource_name=name, description=description)
    if error.reason in _PRECONDITIONS:
        broken = error_details_pb2.PreconditionFailure()
        broken.violations.add(type=error.reason.name, subject=name, description=description)
        return broken
    if error.reason in _QUOTAS:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(
            subject=_short(error.metadata.get("path") or error.metadata.get("project") or _QUOTAS[error.reason], _MAX_VALUE),
            description=description,
        )
        return quota
    return None


def _resource_type(error: YardError) -> str:
    if error.reason in _TYPES:
        return _TYPES[error.reason]
    # The third part of a resource's name is its collection.
    collection = (error.metadata.get("name", "").split("/") + [""] * 3)[2]
    return _COLLECTIONS.get(collection, "")


def _build_status(error: YardError, entries: int) -> status_pb2.Status:
    status = status_pb2.Status(code=int(error.reason.code), message=_short(error.message, _MAX_MESSAGE))
    metadata = {_short(k, _MAX_VALUE): _short(v, _MAX_VALUE) for k, v in list(error.metadata.items())[:entries]}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=metadata))
    if error.violations[:entries]:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations[:entries]:
            bad_request.field_violations.add(
                field=_short(violation.field, _MAX_VALUE), description=_short(violation.description, _MAX_VALUE), reason=error.reason.name
            )
        status.details.add().Pack(bad_request)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after_s * 1000))
        status.details.add().Pack(retry)
    return status


@dataclass(frozen=True)
class ReceivedError:
    """An error as it came over the wire, perhaps from a newer server, or from gRPC itself.

    Attributes:
        code: Its status code.
        reason: The reason's name; empty where the server gave none (gRPC's own errors, a proxy's). May be one that this version does not know.
        message: The sentence for people.
        metadata: What goes with the reason.
        violations: The request's fields at fault.
        retry_after_s: When to try again, in seconds.
    """

    code: Code
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None

    @property
    def known_reason(self) -> Reason | None:
        """The reason, where it is in this version's catalogue."""
        return Reason.__members__.get(self.reason)


def from_status(status: status_pb2.Status) -> ReceivedError:
    """Reads a status. Details of other domains and of unknown kinds are left out."""
    reason = ""
    metadata: dict[str, str] = {}
    violations: list[FieldViolation] = []
    retry_after_s: float | None = None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            if info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations += [FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    return ReceivedError(_code(status.code), reason, status.message, metadata, tuple(violations), retry_after_s)


def to_yard_error(status: status_pb2.Status) -> YardError:
    """A job's stored status as an error. A reason that is not in the catalogue becomes INTERNAL, its name standing in the message."""
    received = from_status(status)
    reason = received.known_reason
    if reason is None:
        named = f" ({received.reason})" if received.reason else ""
        return YardError(Reason.INTERNAL, f"{received.message}{named}", received.metadata, received.violations, received.retry_after_s)
    return YardError(reason, received.message, received.metadata, received.violations, received.retry_after_s)


def from_rpc_error(error: grpc.RpcError) -> ReceivedError:
    """Reads the error that a call raised, of the sync or of the asyncio API.

    gRPC refuses a message far above the server's limit by itself, before the service sees it and without details (see
    ``kit/server/interceptors/requests.py``); that refusal is given its reason here: REQUEST_TOO_LARGE. And where the other side ends a call
    while this one is still sending, grpc.aio may answer before it has seen the status, with an INTERNAL of its own making: to its caller
    that is a broken connection, so it becomes UNAVAILABLE.
    """
    number = _code(error.code().value[0])
    text = error.details() or ""
    trailing: Iterable[Any] = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except DecodeError:
                break
            if status.code == number:
                return from_status(status)
    if number is Code.RESOURCE_EXHAUSTED and _GRPC_TOO_LARGE in text:
        return ReceivedError(number, Reason.REQUEST_TOO_LARGE.name, "the message is larger than the receiver takes: send less at once")
    if number is Code.INTERNAL and text == _GRPC_SEND_FAILED:
        return ReceivedError(Code.UNAVAILABLE, "", "the call ended while its messages were still being sent")
    return ReceivedError(number, "", text)


def _code(number: int) -> Code:
    try:
        return Code(number)
    except ValueError:
        return Code.UNKNOWN
