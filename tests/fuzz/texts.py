"""The readers that formats are built on, each alone: JSON, XML, YAML, label rows, masks, addresses. Where the standard library reads the same, both must agree."""

from __future__ import annotations

import io
import json
import math
from typing import Any

from verdicts import Broken

from visionyard.dataset.fetching.addresses import AllowList, SourceUrl
from visionyard.dataset.formats.json_items import json_items
from visionyard.dataset.formats.json_lines import json_lines
from visionyard.dataset.formats.json_stream import NotJson, stream_members
from visionyard.dataset.formats.json_text import MAX_ITEM_CHARACTERS, JsonText
from visionyard.dataset.formats.run_lengths import MaskReader, NotMask
from visionyard.dataset.formats.safe_yaml import NotYaml, read_yaml
from visionyard.dataset.formats.xml_reader import NotXml, read_xml
from visionyard.dataset.formats.yolo_rows import looks_like_labels, read_rows
from visionyard.dataset.source import decode_text
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.errors import YardError
from visionyard.kit.web.urls import MAX_CHARACTERS

_MAX_YAML_DEPTH = 12
_MASK_KEYS = 2


def read_json_members(data: bytes) -> None:
    """The streaming reader, member by member; of well-formed files it gives what ``json`` gives."""
    got: list[tuple[str, Any]] = []
    try:
        got.extend(stream_members(io.BufferedReader(io.BytesIO(data))))
    except NotJson:
        return
    if _parses(data):
        pairs: list[tuple[str, Any]] = []

        def remember(members: list[tuple[str, Any]]) -> dict[str, Any]:
            pairs[:] = members  # those of the root come last
            return dict(members)

        json.loads(_plain(data), object_pairs_hook=remember)
        wanted = [(name, item) for name, value in pairs for item in (value if isinstance(value, list) else (value,))]
        if not _alike(got, wanted):
            raise Broken("the members are not those that json reads")


def _plain(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""


def read_json_value(data: bytes) -> None:
    """One value, as it stands in a stream; a well-formed file that was refused must be refused for its bounds."""
    text = JsonText(io.BufferedReader(io.BytesIO(data)), MAX_ITEM_CHARACTERS)
    try:
        value, rest = text.value(), text.next()
    except NotJson as error:
        if "damaged" in str(error) and _parses(data):
            raise Broken("a well-formed value is called damaged") from None
        return
    if not rest and _parses(data) and not _alike(value, json.loads(_plain(data))):
        raise Broken("the value is not the one that json reads")


def _parses(data: bytes) -> bool:
    try:
        json.loads(_plain(data))
    except (ValueError, RecursionError):
        return False
    return True


def _alike(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)  # NaN is not itself


def read_json_items(data: bytes) -> None:
    """The reader of lists of many objects; of well-formed lists it gives what ``json`` gives."""
    got = list(json_items(io.BytesIO(data)))
    if any(isinstance(value, NotJson) for value in got[:-1]):
        raise Broken("items follow a damaged one")
    try:
        wanted = json.loads(_plain(data), parse_int=float)
    except (ValueError, RecursionError):
        return
    if isinstance(wanted, list) and not _alike_or_bounded(got, wanted):
        raise Broken("the items are not those that json reads")


def _alike_or_bounded(got: list[Any], wanted: list[Any]) -> bool:
    return bool(got and isinstance(got[-1], NotJson) and "deep" in str(got[-1])) or _alike(
        [str(v) if isinstance(v, NotJson) else v for v in got], wanted
    )


def read_json_lines(data: bytes) -> None:
    """The reader of JSON Lines; line numbers go up."""
    last = 0
    for number, _ in json_lines(io.BytesIO(data)):
        if number <= last:
            raise Broken("line numbers do not go up")
        last = number


class _Seen:
    """Follows a file's elements, holding on to nothing."""

    def __init__(self) -> None:
        self.depth = 0

    def start(self, path: list[str], attributes: dict[str, str], line: int) -> None:
        self.depth += 1
        if line < 1 or len(path) != self.depth or not all(isinstance(value, str) for value in attributes.values()):
            raise Broken("an element begins where it cannot")

    def end(self, path: list[str], text: str) -> None:
        if len(path) != self.depth or text != text.strip():
            raise Broken("an element ends where it cannot")
        self.depth -= 1


def read_xml_text(data: bytes) -> None:
    """The XML reader; a file that is taken to its end closes what it opened."""
    seen = _Seen()
    try:
        read_xml(io.BytesIO(data), "a.xml", seen)
    except (NotXml, YardError):
        return
    if seen.depth:
        raise Broken("an element does not end")


def read_yaml_text(data: bytes) -> None:
    """The YAML reader; all it gives is texts in lists and dictionaries, not nested too deep."""
    try:
        document = read_yaml(decode_text(data))
    except NotYaml:
        return
    if document is not None:
        _plain_values(document, 0)


def _plain_values(value: object, depth: int) -> None:
    if depth > _MAX_YAML_DEPTH:
        raise Broken("a YAML is nested too deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            _plain_values(key, depth + 1)
            _plain_values(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _plain_values(inner, depth + 1)
    elif not isinstance(value, str):
        raise Broken("a YAML holds what is no text")


def read_label_rows(data: bytes) -> None:
    """YOLO's rows, without and with keypoints; every line that is not blank is one row."""
    text = decode_text(data)
    looks_like_labels(text)
    lines = sum(1 for line in text.splitlines() if line.strip())
    for keypoints in (None, KeypointLayout(2, 3, (), ()), KeypointLayout(1, 2, (), ())):
        rows = list(read_rows(text, 3, keypoints))
        if len(rows) != lines:
            raise Broken("there are more or fewer rows than lines")
        for row in rows:
            row.message.encode()
            if row.problem is None and not (0 <= row.class_id < 3 and math.isfinite(row.cx + row.cy)):
                raise Broken("a row without a problem has one")


def read_mask(data: bytes) -> None:
    """COCO's masks: ``height width counts``, the counts packed or as numbers with commas."""
    words = data.decode("latin-1").split(None, _MASK_KEYS)
    size = [_whole(word) for word in words[:_MASK_KEYS]]
    written = words[_MASK_KEYS] if len(words) > _MASK_KEYS else ""
    counts: Any = [_whole(word) for word in written[1:].split(",")] if written.startswith(",") else written
    reader = MaskReader()
    for _ in range(2):  # the second is held against what the first left of the bounds
        try:
            outline = reader.outline({"size": size, "counts": counts})
        except NotMask:
            return
        left, top, right, bottom = outline.box
        if not (0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]) or not outline.parts:
            raise Broken("a mask lies outside of its picture")
        for part in outline.parts:
            if part[:, 0].min() < left or part[:, 0].max() > right or part[:, 1].min() < top or part[:, 1].max() > bottom:
                raise Broken("an outline lies outside of its mask")


def _whole(word: str) -> Any:
    try:
        return int(word)
    except ValueError:
        return word


def read_address(data: bytes) -> None:
    """Addresses, and the administrator's lists of them. What is read is sent: it holds nothing that ends a line or a header, and reads the same again."""
    text = data.decode("utf-8", "replace")
    listed, _, asked = text.partition("\n")
    try:
        url = SourceUrl.parse(asked, buckets=True)
    except ValueError:
        url = None
    if url is not None:
        _sendable(url)
    try:
        allow = AllowList.parse(listed, listed)
    except ValueError as error:
        str(error).encode()
        return
    try:
        allowed = allow.allowed(asked)
    except YardError:
        return
    if url is None or not any(entry.host == allowed.host and entry.scheme == allowed.scheme for entry in allow.entries):
        raise Broken("an address is allowed that is not listed")


def _sendable(url: SourceUrl) -> None:
    sent = f"{url.host}{url.path}{url.query}" if url.scheme != "s3" else url.host
    if not sent.isascii() or not sent.isprintable() or " " in sent:
        raise Broken("an address holds what cannot be sent")
    url.shown.encode()
    url.file_name.encode()
    if url.scheme == "s3":
        return
    host = f"[{url.host}]" if ":" in url.host else url.host
    text = f"{url.scheme}://{host}:{url.port}{url.path}" + (f"?{url.query}" if url.query else "")
    if len(text) > MAX_CHARACTERS:
        return  # escapes made it longer than an address may be
    again = SourceUrl.parse(text, buckets=True)
    if again != url:
        raise Broken("an address that is read again is another")
