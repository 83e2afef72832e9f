"""JSON read part by part, and how a file begins: the same as Python's own reader says, however the text is cut."""

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visionyard.dataset.formats import json_text
from visionyard.dataset.formats.json_stream import NotJson, Take, as_number, begins_with, glimpse, head_of, read_parts, stream_members

DOCUMENT = {"a": [1, {"b": ']}"\\,é'}, []], "skip": {"x": [1, 2], "y": "z"}, "c": None, "d": {}, "e": [[1, 2], [3]]}


def whole(_):
    return Take.WHOLE


def test_parts_are_asked_for_by_their_paths(plant):
    tree = plant({"l.json": json.dumps(DOCUMENT)})
    asked = []

    def take(at):
        asked.append(at)
        return {(): Take.INTO, ("a",): Take.INTO, ("skip",): Take.SKIP}.get(at, Take.WHOLE)

    assert list(read_parts(tree, "l.json", take)) == [
        (("a", 0), 1),
        (("a", 1), {"b": ']}"\\,é'}),
        (("a", 2), []),
        (("c",), None),
        (("d",), {}),
        (("e",), [[1, 2], [3]]),
    ]
    assert asked == [(), ("a",), ("a", 1), ("a", 2), ("skip",), ("d",), ("e",)]


def test_members_are_given_item_by_item():
    members = list(stream_members(io.BufferedReader(io.BytesIO(json.dumps(DOCUMENT).encode("utf-16")))))
    assert members == [
        ("a", 1), ("a", {"b": ']}"\\,é'}), ("a", []), ("skip", DOCUMENT["skip"]), ("c", None), ("d", {}), ("e", [1, 2]), ("e", [3]),
    ]  # fmt: skip


BROKEN = [
    "",
    " ",
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[1]]",
    "[1] x",
    "{",
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    "{1:2}",
    "[1 2]",
    "nul",
    '"a',
    "[1" + "0" * 5000 + "]",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_text_is_refused_with_its_place(plant, text):
    with pytest.raises(NotJson, match="at character "):
        list(read_parts(plant({"l.json": text}), "l.json", lambda at: Take.INTO if len(at) < 2 else Take.WHOLE))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_depth_is_bounded(plant, text):
    tree = plant({"l.json": text})
    with pytest.raises(NotJson, match="nested too deep"):
        list(read_parts(tree, "l.json", lambda at: Take.WHOLE if at else Take.INTO))
    assert glimpse(tree, "l.json") is not None


def test_size_is_bounded(plant):
    limit = json_text.MAX_ITEM_CHARACTERS
    for text in ('["' + "x" * (2 * limit), "[1, " + " " * (3 * limit), "[" + "1" * (2 * limit)):
        read = []
        with pytest.raises(NotJson):
            read.extend(read_parts(plant({"l.json": text}), "l.json", lambda at: Take.WHOLE if at else Take.INTO))


def test_what_is_to_stop_the_work_is_heard(plant):
    class Stopped(BaseException):
        pass

    def check():
        if armed:
            raise Stopped

    armed = []
    tree = plant({"l.json": json.dumps([0] * 3000)}, check)
    armed.append(1)
    for take in (lambda at: Take.SKIP, lambda at: Take.INTO):
        with pytest.raises(Stopped):
            list(read_parts(tree, "l.json", take))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_any_value_is_read_as_python_reads_it(plant, value, encoding, ascii_):
    text = json.dumps(value, ensure_ascii=ascii_)
    tree = plant({"l.json": text.encode(encoding, "surrogatepass")})
    if "\ud800" <= max(text, default=" ") <= "\udfff":
        return
    assert list(read_parts(tree, "l.json", whole)) == [((), json.loads(text))]
    assert glimpse(tree, "l.json") == json.loads(text)
    if isinstance(value, list):
        assert [part for _, part in read_parts(tree, "l.json", lambda at: Take.WHOLE if at else Take.INTO)] == json.loads(text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values, st.integers(0, 200), st.binary(max_size=5))
def test_any_text_is_glimpsed(plant, value, cut, noise):
    text = json.dumps([value, value]).encode()[:cut] + noise
    tree = plant({"l.json": text})
    root = glimpse(tree, "l.json")
    if text.startswith(b"[") and cut > 1:
        assert isinstance(root, list)
    try:
        list(read_parts(tree, "l.json", lambda at: Take.WHOLE if at else Take.INTO))
    except NotJson as error:
        assert str(error)  # noqa: PT017 - either way is right


def test_of_a_large_file_the_beginning_is_enough(plant):
    tree = plant({"l.json": '{"images": [' + '{"file_name": "a,]}.jpg", "id": 1}, ' * 100_000})
    root = glimpse(tree, "l.json")
    assert list(root) == ["images"]
    assert 1000 < len(root["images"]) < 3000
    assert root["images"][-1] in ({"file_name": "a,]}.jpg", "id": 1}, {"file_name": "a,]}.jpg"}, {})


def test_a_head_is_read_without_blanks_and_mark(plant):
    tree = plant({"l.json": b"\xef\xbb\xbf \n[1]"})
    assert head_of(tree, "l.json") == b"[1]"
    assert begins_with(tree, "l.json", b"[")
    assert not begins_with(tree, "l.json", b"{")


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1.0), (2.5, 2.5), (10**400, float("inf")), (True, None), ("1", None), (None, None), ([], None)]
)
def test_numbers(value, number):
    assert as_number(value) == number


def test_what_is_nested_without_end_is_refused(plant):
    tree = plant({"a.json": "[" * 5000 + "]" * 5000})
    with pytest.raises(NotJson, match="nested too deep"):
        list(read_parts(tree, "a.json", lambda _: Take.INTO))
