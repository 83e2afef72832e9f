"""What a client is told of the store's failures."""

from types import SimpleNamespace

import pytest

from visionyard.kit.errors import Reason
from visionyard.kit.objectstore.port import OutcomeUnknown, StoreFull, StoreUnavailable
from visionyard.kit.server.interceptors.chain import Call, Method
from visionyard.kit.server.interceptors.errors import Errors


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (StoreUnavailable("away"), Reason.STORE_UNAVAILABLE),
        (OutcomeUnknown("no answer"), Reason.STORE_UNAVAILABLE),
        (ExceptionGroup("tasks", [OutcomeUnknown("no answer")]), Reason.STORE_UNAVAILABLE),
        (StoreFull("full"), Reason.DISK_FULL),
        (RuntimeError("unexpected"), Reason.INTERNAL),
    ],
)
def test_a_store_that_fails_is_no_fault_of_the_server(raised, reason):
    call = Call(Method("/a.B/C", client_streaming=False, server_streaming=False), SimpleNamespace())
    assert Errors("http://store:8333").translate(raised, call).reason is reason
