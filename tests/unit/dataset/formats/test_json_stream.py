"""JSON read item by item."""

import io
import json
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.dataset.formats import json_stream
from visionyard.dataset.formats.json_stream import NotJson, stream_members


def members(text, **options):
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return list(stream_members(io.BufferedReader(io.BytesIO(data)), **options))


def test_arrays_come_item_by_item_and_the_rest_whole():
    text = ' { "a" : [ 1 , {"b": [2]}, [] ] , "c" : {"d": 1}, "e": [], "f": "g" } '
    assert members(text) == [("a", 1), ("a", {"b": [2]}), ("a", []), ("c", {"d": 1}), ("f", "g")]
    assert members("{}") == members(" \n{ }") == []


def test_numbers_of_any_kind_are_read():
    (_, values), *_ = members('{"a": [[NaN, Infinity, -Infinity, 1e999, 1e-999, 0.1, %s]]}' % ("9" * 400))
    assert math.isnan(values[0])
    assert values[1:6] == [math.inf, -math.inf, math.inf, 0.0, 0.1]
    assert values[6] > 10**399


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_items_may_lie_across_reads(monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", chunk)
    document = {"numbers": [1, 12, 123, -1.5e10], "ü": ['ü\U0001f600\\"', True, None], "o": {"deep": [[[1]]]}}
    wanted = [(key, item) for key, value in document.items() for item in (value if isinstance(value, list) else [value])]
    for ascii_ in (True, False):
        assert members(json.dumps(document, ensure_ascii=ascii_, indent=2)) == wanted
    assert members(json.dumps(document).encode("utf-16")) == members(json.dumps(document).encode("utf-8-sig")) == wanted


BROKEN = {
    "nothing": ("", "it ends too early, at character 1"),
    "an array": ("[1]", "it has '[' where { should be, at character 1"),
    "a word": ("hello", "it has 'h'"),
    "no key": ("{1: 2}", "a member has no name"),
    "no colon": ('{"a" 1}', "where : should be"),
    "no comma": ('{"a": 1 "b": 2}', "where , or } should be, at character 9"),
    "a comma too many": ('{"a": [1,]}', "it is damaged"),
    "cut off in a text": ('{"a": ["b', "it ends too early"),
    "cut off in an array": ('{"a": [1, ', "it ends too early"),
    "cut off in an item": ('{"a": [{"b": 1', "it ends too early"),
    "cut off between members": ('{"a": 1,', "it ends too early"),
    "nested": ('{"a": ' + "[[" * 50_000, "it is nested too deep"),
    "nested objects": ('{"a": ' + '{"a":' * 50_000, "it is nested too deep"),
    "a number that is too long": ('{"a": ' + "9" * 5000 + "}", "it holds a number that is too long"),
    "a control character": ('{"a": "\x01"}', "it is damaged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_read_is_told_with_its_place(case):
    text, message = BROKEN[case]
    with pytest.raises(NotJson) as caught:
        members(text)
    assert message in str(caught.value)


def test_what_came_before_has_been_given():
    taken = []
    with pytest.raises(NotJson):
        taken.extend(item for _, item in stream_members(io.BufferedReader(io.BytesIO(b'{"a": [1, 2, oops'))))
    assert taken == [1, 2]


def test_an_item_that_is_too_large_is_refused():
    text = '{"a": ["' + "x" * 2_000_000 + '"]}'
    with pytest.raises(NotJson, match="an item of more than 1000 characters"):
        members(text, limit=1000)
    assert len(members(text)) == 1


def test_stopping_is_heard():
    class Stop(Exception):
        pass

    def check():
        raise Stop

    with pytest.raises(Stop):
        members(json.dumps({"a": [0] * 5000}), check=check)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON), st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(document, ascii_):
    wanted = [(key, item) for key, value in document.items() for item in (value if isinstance(value, list) else [value])]
    assert members(json.dumps(document, ensure_ascii=ascii_)) == wanted


@given(st.one_of(st.binary(max_size=200), st.text('{}[]",:0123456789.eE+-truefalsn \\u\n', max_size=100).map(str.encode)))
@settings(max_examples=200, deadline=None)
def test_fuzz(data):
    with suppress(NotJson):
        members(data)
