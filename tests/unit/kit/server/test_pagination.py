"""Page tokens and sizes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.pagination import paginate

PARENT = "projects/default/importJobs"


def refused(*arguments):
    with pytest.raises(YardError) as caught:
        paginate(*arguments)
    return caught.value.reason


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_sizes(asked, given_):
    page = paginate(PARENT, asked, "")
    assert (page.size, page.after) == (given_, "")


def test_a_negative_size_is_refused():
    assert refused(PARENT, -1, "") is Reason.INVALID_FIELD


@given(st.text(min_size=1, max_size=100).filter(lambda text: text.encode("utf-8", "replace").decode() == text))
def test_a_token_carries_the_position_for_its_own_list_only(position):
    token = paginate(PARENT, 0, "").next_token(position)
    assert paginate(PARENT, 7, token).after == position
    assert refused("projects/other/importJobs", 0, token) is Reason.INVALID_PAGE_TOKEN


@given(st.text(max_size=60))
def test_nothing_else_is_a_token(text):
    if text:
        assert refused(PARENT, 0, text) is Reason.INVALID_PAGE_TOKEN


@pytest.mark.parametrize(
    "token", ["x" * 10_000, "é", "====", base64.urlsafe_b64encode(b"0" * 40).decode(), base64.urlsafe_b64encode(b"\xff" * 20).decode()]
)
def test_forged_tokens_are_refused(token):
    assert refused(PARENT, 0, token) is Reason.INVALID_PAGE_TOKEN


def test_a_token_cut_or_changed_is_refused():
    token = paginate(PARENT, 0, "").next_token("00012345")
    for wrong in (token[:-1], token[1:], token + "A", token[:-2] + ("AA" if token[-2:] != "AA" else "BB")):
        assert refused(PARENT, 0, wrong) is Reason.INVALID_PAGE_TOKEN
