"""Errors to google.rpc.Status and back."""

from pathlib import Path

import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from visionyard.kit.errors import Code, FieldViolation, Reason, YardError
from visionyard.kit.status import from_status, to_status, to_yard_error

PROTOS = Path(__file__).parents[4] / "protos"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_back(reason):
    error = YardError(reason, "what, where, what to do", {"name": "x"}, (FieldViolation("a.b", "not so"),), 2.5)
    status = to_status(error)
    assert status.code == reason.code
    assert to_yard_error(status_pb2.Status.FromString(status.SerializeToString())) == error
    received = from_status(status)
    assert (received.code, received.reason, received.known_reason) == (reason.code, reason.name, reason)


def test_the_details_are_googles():
    status = to_status(YardError(Reason.INVALID_FIELD, "m", {"field": "f"}, (FieldViolation("f", "d"),), 1.0))
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert [detail.Unpack(message) for detail, message in zip(status.details, (info, bad, retry), strict=True)] == [True] * 3
    assert (info.domain, info.reason, dict(info.metadata)) == ("visionyard", "INVALID_FIELD", {"field": "f"})
    assert (bad.field_violations[0].field, retry.retry_delay.seconds) == ("f", 1)


def test_long_texts_are_cut_so_that_the_error_arrives():
    error = YardError(
        Reason.INVALID_FIELD, "é" * 100_000, {str(n): "v" * 9000 for n in range(500)}, (FieldViolation("f" * 9000, "d" * 9000),) * 500
    )
    status = to_status(error)
    assert len(status.message) == 2000
    assert len(status.SerializeToString()) <= 24 * 1024
    assert from_status(status).metadata["0"].startswith("vvv")


def test_what_utf8_cannot_write_arrives_as_escapes():
    """A pickle's strings may hold half of a surrogate pair, and messages name keys of strangers' files."""
    error = YardError(Reason.INVALID_FIELD, "lacks \ud800x", {"field": "\udfff"}, (FieldViolation("\ud800", "\ud800"),))
    received = from_status(to_status(error))
    assert (received.message, received.metadata["field"]) == ("lacks \\ud800x", "\\udfff")


def detail_of(error, kind):
    message = kind()
    found = [detail for detail in to_status(error).details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) == 1
    found[0].Unpack(message)
    return message


NAMES = {
    Reason.DATASET_NOT_FOUND: "projects/p/datasets/d",
    Reason.DATASET_VERSION_NOT_FOUND: "projects/p/datasets/d/versions/1",
    Reason.JOB_NOT_FOUND: "projects/p/trainingJobs/j",
    Reason.MODEL_NOT_FOUND: "projects/p/models/m",
    Reason.MODEL_VERSION_NOT_FOUND: "projects/p/models/m/versions/1",
    Reason.ARTIFACT_NOT_FOUND: "projects/p/models/m/versions/1/artifacts/a",
    Reason.DEPLOYMENT_NOT_FOUND: "projects/p/deployments/d",
    Reason.CHANNEL_NOT_FOUND: "projects/p/notificationChannels/c",
    Reason.PRESET_NOT_FOUND: "projects/p/presets/s",
    Reason.UPLOAD_NOT_FOUND: "projects/p/uploads/u",
    Reason.FILE_NOT_FOUND: "projects/p/trainingJobs/j",
    Reason.ALREADY_EXISTS: "projects/p/deployments/d",
}


@pytest.mark.parametrize("reason", [r for r in Reason if r.code is Code.NOT_FOUND or r is Reason.ALREADY_EXISTS])
def test_a_resource_is_named_with_its_message(reason):
    info = detail_of(YardError(reason, "there is none", {"name": NAMES[reason], "path": "a.pt"}), error_details_pb2.ResourceInfo)
    expected = f"{NAMES[reason]}/a.pt" if reason is Reason.FILE_NOT_FOUND else NAMES[reason]
    assert (info.resource_name, info.description) == (expected, "there is none")
    parts = info.resource_type.split(".")
    files = [path for path in PROTOS.glob(f"{'/'.join(parts[:-1])}/*.proto") if f"message {parts[-1]} {{" in path.read_text()]
    assert len(files) == 1, f"{info.resource_type} is no message"


@pytest.mark.parametrize(
    ("collection", "kind"),
    [
        ("importJobs", "dataset.v1.ImportJob"),
        ("exportJobs", "export.v1.ExportJob"),
        ("evaluationJobs", "training.v1.EvaluationJob"),
        ("tuningJobs", "training.v1.TuningJob"),
        ("", ""),
    ],
)
def test_a_job_is_of_its_collections_kind(collection, kind):
    info = detail_of(YardError(Reason.JOB_NOT_FOUND, "m", {"name": f"projects/p/{collection}/j"}), error_details_pb2.ResourceInfo)
    assert info.resource_type == (f"visionyard.{kind}" if kind else "")


@pytest.mark.parametrize("reason", [Reason.UPLOAD_INCOMPLETE, Reason.JOB_FINISHED, Reason.DEPLOYMENT_NOT_READY])
def test_what_must_be_so_first_is_a_precondition(reason):
    (broken,) = detail_of(YardError(reason, "not yet", {"name": "n"}), error_details_pb2.PreconditionFailure).violations
    assert (broken.type, broken.subject, broken.description) == (reason.name, "n", "not yet")


@pytest.mark.parametrize(
    ("reason", "metadata", "subject"),
    [
        (Reason.OVERLOADED, {}, "service"),
        (Reason.REQUEST_TOO_LARGE, {"size_bytes": "9"}, "request"),
        (Reason.DISK_FULL, {"path": "store"}, "store"),
        (Reason.DISK_FULL, {}, "disk"),
    ],
)
def test_what_there_is_too_little_of_is_a_quota(reason, metadata, subject):
    (short,) = detail_of(YardError(reason, "too much", metadata), error_details_pb2.QuotaFailure).violations
    assert (short.subject, short.description) == (subject, "too much")


def test_other_reasons_have_none_of_these():
    for reason in (Reason.REQUEST_ID_REUSED, Reason.INTERNAL, Reason.STORE_UNAVAILABLE):
        assert len(to_status(YardError(reason, "m", {"name": "projects/p/deployments/d"})).details) == 1


@pytest.mark.parametrize("reason", list(Reason))
def test_a_status_stays_below_the_limit_with_every_detail(reason):
    wide = "\U0001f6a7"
    metadata = {"name": wide * 9000, "path": wide * 9000, **{f"{wide * 600}{n}": wide * 9000 for n in range(50)}}
    error = YardError(reason, wide * 9000, metadata, (FieldViolation(wide * 9000, wide * 9000),) * 50, 1.0)
    assert to_status(error).ByteSize() <= 24 * 1024


def test_a_newer_servers_reason_is_kept_by_name():
    status = status_pb2.Status(code=5, message="gone")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="visionyard", reason="WIDGET_NOT_FOUND", metadata={"name": "w"}))
    received = from_status(status)
    assert (received.code, received.reason, received.known_reason, received.metadata) == (
        Code.NOT_FOUND,
        "WIDGET_NOT_FOUND",
        None,
        {"name": "w"},
    )
    assert to_yard_error(status) == YardError(Reason.INTERNAL, "gone (WIDGET_NOT_FOUND)", {"name": "w"})


def test_other_domains_unknown_details_and_codes_do_no_harm():
    status = status_pb2.Status(code=99, message="odd")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="example.com", reason="THEIRS"))
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"\xff"))
    received = from_status(status)
    assert (received.code, received.reason, received.message) == (Code.UNKNOWN, "", "odd")
