"""The errors that reach users: a reason a program can switch on, a status code, and one plain sentence.

Domain code raises :class:`YardError`; the server's error interceptor turns it into a ``google.rpc.Status`` and jobs store
it in their status. The catalogue below fixes which status code goes with each reason; a test holds it against the proto enum.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Code(enum.IntEnum):
    """gRPC's canonical status codes, by their wire numbers (google/rpc/code.proto)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(enum.Enum):
    """Why a call was refused or a job failed; the names are those of ``visionyard.errors.v1.ErrorReason``, each with its status code."""

    INTERNAL = (1, Code.INTERNAL)
    INVALID_FIELD = (2, Code.INVALID_ARGUMENT)
    REQUEST_TOO_LARGE = (3, Code.RESOURCE_EXHAUSTED)
    INVALID_NAME = (4, Code.INVALID_ARGUMENT)
    INVALID_PAGE_TOKEN = (5, Code.INVALID_ARGUMENT)
    ETAG_MISMATCH = (6, Code.ABORTED)
    REQUEST_ID_REUSED = (7, Code.ALREADY_EXISTS)
    STORE_UNAVAILABLE = (8, Code.UNAVAILABLE)
    TRITON_UNAVAILABLE = (9, Code.UNAVAILABLE)
    SHUTTING_DOWN = (10, Code.UNAVAILABLE)
    DEADLINE_EXCEEDED = (11, Code.DEADLINE_EXCEEDED)
    CANCELLED = (12, Code.CANCELLED)
    QUOTA_EXCEEDED = (13, Code.RESOURCE_EXHAUSTED)
    SHARED_READ_ONLY = (14, Code.PERMISSION_DENIED)

    DATASET_NOT_FOUND = (20, Code.NOT_FOUND)
    DATASET_VERSION_NOT_FOUND = (21, Code.NOT_FOUND)
    JOB_NOT_FOUND = (22, Code.NOT_FOUND)
    MODEL_NOT_FOUND = (23, Code.NOT_FOUND)
    MODEL_VERSION_NOT_FOUND = (24, Code.NOT_FOUND)
    ARTIFACT_NOT_FOUND = (25, Code.NOT_FOUND)
    DEPLOYMENT_NOT_FOUND = (26, Code.NOT_FOUND)
    UPLOAD_NOT_FOUND = (27, Code.NOT_FOUND)
    FILE_NOT_FOUND = (28, Code.NOT_FOUND)
    ALREADY_EXISTS = (29, Code.ALREADY_EXISTS)
    DATASET_IN_USE = (30, Code.FAILED_PRECONDITION)
    COLLECTION_RUNNING = (31, Code.FAILED_PRECONDITION)
    DATASET_CHANGED = (32, Code.ABORTED)
    PRESET_NOT_FOUND = (38, Code.NOT_FOUND)

    UPLOAD_OFFSET_MISMATCH = (40, Code.OUT_OF_RANGE)
    UPLOAD_CORRUPT = (41, Code.DATA_LOSS)
    UPLOAD_INCOMPLETE = (42, Code.FAILED_PRECONDITION)

    ARCHIVE_UNREADABLE = (60, Code.INVALID_ARGUMENT)
    ARCHIVE_TRUNCATED = (61, Code.INVALID_ARGUMENT)
    ARCHIVE_ENCRYPTED = (62, Code.INVALID_ARGUMENT)
    ARCHIVE_BOMB = (63, Code.INVALID_ARGUMENT)
    ARCHIVE_UNSAFE_PATH = (64, Code.INVALID_ARGUMENT)
    NO_IMAGES = (65, Code.INVALID_ARGUMENT)
    NO_LABELS = (66, Code.INVALID_ARGUMENT)
    FORMAT_UNKNOWN = (67, Code.INVALID_ARGUMENT)
    SPLIT_EMPTY = (68, Code.INVALID_ARGUMENT)
    ANNOTATION_BOMB = (69, Code.INVALID_ARGUMENT)
    CLASSES_UNKNOWN = (70, Code.INVALID_ARGUMENT)
    FINDINGS_REFUSED = (71, Code.FAILED_PRECONDITION)
    VERSIONS_MISMATCH = (72, Code.FAILED_PRECONDITION)
    CONVERTER_MISSING = (73, Code.FAILED_PRECONDITION)
    CONVERSION_FAILED = (74, Code.INVALID_ARGUMENT)
    SOURCE_NOT_ALLOWED = (78, Code.PERMISSION_DENIED)
    SOURCE_UNREACHABLE = (79, Code.FAILED_PRECONDITION)

    UNKNOWN_ARGUMENT = (80, Code.INVALID_ARGUMENT)
    RESERVED_ARGUMENT = (81, Code.INVALID_ARGUMENT)
    INVALID_ARGUMENT_VALUE = (82, Code.INVALID_ARGUMENT)
    WEIGHTS_UNREADABLE = (83, Code.INVALID_ARGUMENT)
    WEIGHTS_UNSAFE = (84, Code.INVALID_ARGUMENT)
    MODEL_YAML_INVALID = (85, Code.INVALID_ARGUMENT)
    UNSUPPORTED_TASK = (86, Code.INVALID_ARGUMENT)
    TRAINING_FAILED = (87, Code.INTERNAL)
    OUT_OF_MEMORY = (88, Code.RESOURCE_EXHAUSTED)
    DISK_FULL = (89, Code.RESOURCE_EXHAUSTED)
    WEIGHTS_DO_NOT_FIT = (95, Code.FAILED_PRECONDITION)

    WORKER_CRASHED = (100, Code.INTERNAL)
    JOB_FINISHED = (101, Code.FAILED_PRECONDITION)
    JOB_UNFINISHED = (102, Code.FAILED_PRECONDITION)
    DEPENDENCY_FAILED = (103, Code.FAILED_PRECONDITION)
    CLUSTER_NOT_READY = (104, Code.FAILED_PRECONDITION)

    EXPORT_FAILED = (120, Code.INTERNAL)
    EXPORT_MISMATCH = (121, Code.INTERNAL)
    ARTIFACT_CORRUPT = (122, Code.DATA_LOSS)

    DEPLOYMENT_NOT_READY = (140, Code.FAILED_PRECONDITION)
    MODEL_LOAD_FAILED = (141, Code.INTERNAL)
    IMAGE_UNREADABLE = (142, Code.INVALID_ARGUMENT)
    IMAGE_TOO_LARGE = (143, Code.INVALID_ARGUMENT)
    OVERLOADED = (144, Code.RESOURCE_EXHAUSTED)

    CHANNEL_NOT_FOUND = (160, Code.NOT_FOUND)
    MESSAGE_NOT_DELIVERED = (161, Code.FAILED_PRECONDITION)
    ADDRESS_NOT_ALLOWED = (162, Code.PERMISSION_DENIED)
    TOO_MANY_CHANNELS = (163, Code.RESOURCE_EXHAUSTED)

    MACHINE_NOT_FOUND = (170, Code.NOT_FOUND)
    TOO_MANY_MACHINES = (171, Code.RESOURCE_EXHAUSTED)
    LIMIT_REACHED = (172, Code.FAILED_PRECONDITION)
    PRICE_UNKNOWN = (173, Code.FAILED_PRECONDITION)

    @property
    def number(self) -> int:
        """Its number in the proto enum."""
        return self.value[0]

    @property
    def code(self) -> Code:
        """The status code that goes with it."""
        return self.value[1]


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request that is not valid.

    Attributes:
        field: Path of the field in the request, ``import_job.spec.dataset``.
        description: What is wrong with it, in a sentence.
    """

    field: str
    description: str


@dataclass
class YardError(Exception):
    """An error that a user may see.

    Attributes:
        reason: Why, for programs.
        message: What happened, where, and what to do: one sentence for people. Never holds secrets, paths of the server or traces.
        metadata: What the reason's comment in ``error_reason.proto`` lists.
        violations: The request's fields at fault, sent as ``google.rpc.BadRequest``.
        retry_after_s: When to try again, in seconds; sent as ``google.rpc.RetryInfo``.
    """

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, object]:
        """The form in which job documents keep it."""
        return {"reason": self.reason.name, "message": self.message, "metadata": dict(self.metadata)}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> YardError:
        """Reads what :meth:`to_json` wrote.

        Raises:
            KeyError: the reason is not in the catalogue.
        """
        metadata = document.get("metadata")
        return cls(
            reason=Reason[str(document["reason"])],
            message=str(document["message"]),
            metadata={str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, Mapping) else {},
        )


def invalid_field(name: str, description: str) -> YardError:
    """An INVALID_FIELD error for one field of a request."""
    return YardError(Reason.INVALID_FIELD, f"{name}: {description}", {"field": name}, (FieldViolation(name, description),))


def encodable(text: str) -> str:
    """A text of a stranger's as UTF-8 and protobuf can carry it: halves of surrogate pairs, which a pickle's strings may hold alone, are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
