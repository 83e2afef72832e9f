"""The bounded reader of XML: what it refuses, and that it refuses before it has read much."""

import io
import itertools

import pytest

from visionyard.dataset.formats.xml_reader import Enough, NotXml, read_xml
from visionyard.kit.errors import Reason, YardError

CHUNK = 256 << 10


class Seen:
    """Gathers what a handler is told."""

    def __init__(self, enough_at=""):
        self.told = []
        self._enough_at = enough_at

    def start(self, path, attributes, line):
        self.told.append(("/".join(path), dict(attributes), line))
        if path[-1] == self._enough_at:
            raise Enough

    def end(self, path, text):
        self.told.append(("/".join(path), text))


class Endless:
    """A file of one beginning and pieces without end; fails where too many are asked for."""

    def __init__(self, head, piece):
        self._data = io.BytesIO(head)
        self._piece = piece
        self.given = 0

    def read(self, size, /):
        data = self._data.read(size)
        while len(data) < size:
            data += self._piece()
        self.given += size
        assert self.given < 64 << 20, "it goes on reading"
        self._data = io.BytesIO(data[size:])
        return data[:size]


def test_elements_come_with_their_path_attributes_text_and_line():
    seen = Seen()
    read_xml(io.BytesIO(b"<a>\n <b c='1'> t\xc3\xa4xt </b>\n</a>"), "a.xml", seen)
    assert seen.told == [("a", {}, 1), ("a/b", {"c": "1"}, 2), ("a/b", "täxt"), ("a", "")]


def test_a_handler_may_have_enough():
    seen = Seen(enough_at="b")
    read_xml(io.BytesIO(b"<a><b/><c/>"), "a.xml", seen)
    assert [what[0] for what in seen.told] == ["a", "a/b"]


NUMBERS = itertools.count()
ENDLESS = {
    "an attribute": (b'<a><b c="', lambda: b"x" * CHUNK),
    "a comment": (b"<a><!-- ", lambda: b"x" * CHUNK),
    "an instruction": (b"<a><?x ", lambda: b"x" * CHUNK),
    "a text": (b"<a>", lambda: b"x" * CHUNK),
    "a text in CDATA": (b"<a><![CDATA[", lambda: b"x" * CHUNK),
    "ever new names": (b"<a>", lambda: b"".join(b"<n%d/>" % next(NUMBERS) for _ in range(1000))),
    "ever new attributes": (b"<a ", lambda: b"".join(b'n%d="" ' % next(NUMBERS) for _ in range(1000))),
    "a comment before the root": (b"<!-- ", lambda: b"x" * CHUNK),
    "declared attributes": (b"<!DOCTYPE a [", lambda: b"".join(b'<!ATTLIST a n%d CDATA "x">' % next(NUMBERS) for _ in range(100))),
    "declared elements": (b"<!DOCTYPE a [", lambda: b"".join(b"<!ELEMENT n%d (x)>" % next(NUMBERS) for _ in range(100))),
    "depth": (b"", lambda: b"<a>" * 1000),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_what_goes_on_without_end_is_refused_after_a_few_megabytes(case):
    stream = Endless(*ENDLESS[case])
    with pytest.raises(NotXml):
        read_xml(stream, "a.xml", Seen())
    assert stream.given <= 8 << 20


@pytest.mark.parametrize(
    "declaration",
    [
        '<!ENTITY a "b">',
        '<!ENTITY % a "b">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!NOTATION n SYSTEM "n"><!ENTITY a SYSTEM "x" NDATA n>',
    ],
)
def test_entities_are_a_bomb(declaration):
    with pytest.raises(YardError) as refused:
        read_xml(io.BytesIO(f"<!DOCTYPE r [{declaration}]><r/>".encode()), "a.xml", Seen())
    assert refused.value.reason is Reason.ANNOTATION_BOMB
    assert "a.xml" in str(refused.value)


@pytest.mark.parametrize(
    "data", [b"", b"<a>", b"<a></b>", b"<a b=1/>", b"\xff\xfe<", b"<?xml version='1.0' encoding='no-such'?><a/>", b"<a>&nothing;</a>"]
)
def test_what_is_no_xml_is_refused_as_such(data):
    with pytest.raises(NotXml):
        read_xml(io.BytesIO(data), "a.xml", Seen())


def test_a_handlers_own_errors_stay_what_they_are():
    class Wrong(Seen):
        def start(self, path, attributes, line):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        read_xml(io.BytesIO(b"<a/>"), "a.xml", Wrong())


def test_reading_can_be_stopped():
    class Stopped(Exception):
        pass

    def check():
        raise Stopped

    with pytest.raises(Stopped):
        read_xml(io.BytesIO(b"<a/>"), "a.xml", Seen(), check)
