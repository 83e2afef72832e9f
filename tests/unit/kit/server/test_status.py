"""Errors to google.rpc.Status and back."""

import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from visionyard.kit.errors import Code, FieldViolation, Reason, YardError
from visionyard.kit.status import from_status, to_status, to_yard_error


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
