"""Lists and lines of JSON, read item by item: whole across the edges of what is read at once, bounded, and damage is told."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.dataset.formats.json_items import json_items
from visionyard.dataset.formats.json_lines import MAX_LINE_BYTES, json_lines
from visionyard.dataset.formats.json_stream import NotJson

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


class Dripping(io.BytesIO):
    """Gives a few bytes at a time, whatever is asked for."""

    def read(self, size=-1):
        return super().read(min(size, 7) if size > 0 else size)


def items(data):
    return list(json_items(io.BytesIO(data)))


@settings(max_examples=60, deadline=None)
@given(values=st.lists(VALUES, max_size=6), indent=st.sampled_from([None, 1]), ascii_=st.booleans())
def test_items_are_what_they_are_however_the_bytes_come(values, indent, ascii_):
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    assert list(json_items(Dripping(data))) == items(data) == values
    assert items(b"\xef\xbb\xbf" + data) == values


def test_numbers_at_the_edge_and_of_any_length():
    assert list(json_items(Dripping(b"[123456789012, 1.5e+3, -7 , 12345678]"))) == [123456789012, 1500, -7, 12345678]
    assert items(b"[" + b"9" * 100_000 + b"]") == [float("inf")]


@pytest.mark.parametrize(
    ("data", "good"),
    [
        (b'[{"a": 1}, {"a": ', 1),
        (b'[{"a": 1}', 1),
        (b'[{"a": 1}, nonsense, 3]', 1),
        (b"{}", 0),
        (b"", 0),
        (b"[" * 100_000, 0),
        (b"[1" + b"x" * 30_000_000, 1),
    ],
)
def test_damage_comes_last(data, good):
    found = items(data)
    assert len(found) == good + 1
    assert isinstance(found[-1], NotJson)


def test_an_item_beyond_all_bounds_is_not_read():
    tracemalloc.start()
    (found,) = items(b"[[" + b"[]," * 3_000_000 + b"[]]]")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, NotJson)
    assert peak < 256 << 20


def test_a_line_that_is_damaged_costs_itself_only():
    long = b'"' + b"x" * (MAX_LINE_BYTES + 10) + b'"'
    data = b"\n".join([b'{"a": 1}', b"", b"nonsense", long, b"[" * 100_000, b"9" * 10_000, b"2"])
    found = list(json_lines(io.BytesIO(data)))
    assert [number for number, _ in found] == [1, 3, 4, 5, 6, 7]
    assert [value for _, value in found if not isinstance(value, NotJson)] == [{"a": 1}, float("inf"), 2]
