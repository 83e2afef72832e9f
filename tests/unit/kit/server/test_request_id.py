"""Request ids: strangers' are taken only where they are ids."""

import uuid

import pytest

from visionyard.kit.request_id import accept_request_id, get_request_id, new_request_id, reset_request_id, set_request_id


@pytest.mark.parametrize("value", ["a", "0f4e3c1a-1111-4222-8333-944455556666", "req_1.2-3", "x" * 64])
def test_ids_are_taken(value):
    assert accept_request_id(value) == value


@pytest.mark.parametrize("value", [None, "", b"raw", "x" * 65, "a b", 'a"b', "a\nb", "-a", "é", "../x"])
def test_anything_else_is_replaced(value):
    assert uuid.UUID(accept_request_id(value)).version == 4


def test_the_current_one():
    assert get_request_id() == ""
    token = set_request_id("one")
    assert get_request_id() == "one"
    reset_request_id(token)
    assert get_request_id() == ""
    assert new_request_id() != new_request_id()
