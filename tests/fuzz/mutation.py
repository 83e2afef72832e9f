"""Changes inputs with a mind to their structure, so that they get past the first look: JSON stays JSON, XML's tags close more often than not.

A mutator takes an input, a source of chance and a function that changes bytes blindly (libFuzzer's own), and gives another input.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

from bundles import bundle, unbundle

Blind = Callable[[bytes], bytes]
Mutator = Callable[[bytes, random.Random, Blind], bytes]

NUMBERS = (
    "0", "-0", "1", "-1", "2", "0.5", "1e-320", "1e308", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "nan", "inf", "4294967296",
    "2147483647", "-2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 400, "65536", "10000",
    "100000000", "1.5", "0x10", "1_000", "٣", "1e5", "007",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, float("nan"), float("inf"), -float("inf"), "", "a", "a.jpg",
    "b.jpg", "../a.jpg", "/a.jpg", "\0", "\ud800", "\u202e", "x" * 5000, "#", "a#1", [], {}, [[]], [None], {"a": None}, [1, 2], [1, 2, 3, 4],
    [[1, 2], [3, 4], [5, 6]], [1, 2, 3, 4, 5, 6], {"x": 1}, "1", "1.5", "nan", "true", "http://h/a.jpg", "/data/local-files/?d=a.jpg",
    "http://[", "s3://b/a.jpg", "%00", "a\nb",
)  # fmt: skip
_MEMBERS = (
    ("score", 0.5), ("attributes", {"rotation": 30.0}), ("segments_info", []), ("iscrowd", "true"), ("segmentation", [1, 2, 3, 4, 5, 6, 7, 8]), ("segmentation", "x"),
    ("segmentation", {"size": [9, 9], "counts": "5g0"}), ("keypoints", [2, 2, 2, 4, 4, 1]), ("bbox", [1, 2, 3]), ("bbox", None), ("shape_type", "mask"), ("mask", "AAAA"),
    ("group_id", 1), ("flags", {"day": True}), ("imageData", "AAAA"), ("was_cancelled", True), ("ground_truth", True), ("parentID", "r1"), ("meta", {"text": ["x"]}),
    ("origin", "prediction"), ("hidden", True), ("image_rotation", 90), ("rotation", 400), ("closed", False), ("error", {}), ("confidence", 2), ("readonly", True),
    ("file_name", "b.jpg"), ("coco_url", "http://h/a.jpg"), ("skeleton", [[1, 2]]), ("supercategory", "none"), ("name", ""), ("id", 1), ("label", "ant"),
)  # fmt: skip
"""Members that formats know; which of them an object has decides how it is read."""
_WORDS = (
    b"a.jpg",
    b"b.jpg",
    b"../",
    b"/",
    b"\\",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\n",
    b"\r",
    b"#",
    b",",
    b'"',
    b"\xef\xbb\xbf",
    "é".encode(),
    "ﬀ".encode(),
    "\u2028".encode(),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_XML_PIECE = re.compile(rb"<[^>]*>|[^<]+")
_QUOTED = re.compile(rb"(['\"])([^'\"]{0,200})\1")
_MAX_PIECES = 4000
_DEPTH = 40


def raw(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """Bytes, blindly or by words."""
    return blind(data) if chance.random() < 0.8 else _spliced(data, chance)


def plain_text(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A text of lines and numbers."""
    ways = (_number, _number, _lines, _spliced, _encoding, lambda data, _: blind(data))
    return chance.choice(ways)(data, chance)


def json_text(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A JSON file: a value somewhere in it becomes another, goes, or comes twice; else as a text."""
    if chance.random() < 0.3:
        return plain_text(data, chance, blind)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return plain_text(data, chance, blind)
    for _ in range(chance.randint(1, 3)):
        document = _changed(document, chance, 0)
    try:
        text = json.dumps(document, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, None, 1)))
        return text.encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return blind(data)


def _changed(value: Any, chance: random.Random, depth: int) -> Any:
    """The value with one of its parts changed; deeper parts more often, since there are more of them."""
    if isinstance(value, dict | list) and value and depth < _DEPTH and chance.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, what = chance.choice(keys), chance.random()
        if what < 0.7:
            value[key] = _changed(value[key], chance, depth + 1)
        elif what < 0.8:
            del value[key]
        elif isinstance(value, list):
            value.insert(chance.randrange(len(value) + 1), copy.deepcopy(value[key]))
        elif what < 0.95:
            name, given = chance.choice(_MEMBERS)
            value[name] = copy.deepcopy(given)
        else:
            value[chance.choice((f"{key}2", "x", "", *keys))] = value.pop(key)
        return value
    return chance.choice((copy.deepcopy(chance.choice(_VALUES)), [value], {"a": value}, _nested(value, chance), str(value)))


def _nested(value: Any, chance: random.Random) -> Any:
    for _ in range(chance.choice((2, 10, 100, 400))):
        value = [value]
    return value


def xml_text(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """An XML file: elements go, come twice, change places; attributes and texts change."""
    ways = (_pieces, _pieces, _attribute, _attribute, _number, _declared, _encoding, lambda data, _: blind(data))
    return chance.choice(ways)(data, chance)


def _pieces(data: bytes, chance: random.Random) -> bytes:
    pieces = _XML_PIECE.findall(data)[:_MAX_PIECES]
    if not pieces:
        return data
    begin = chance.randrange(len(pieces))
    end = min(len(pieces), begin + chance.choice((1, 1, 2, 3, 8)))
    chosen = pieces[begin:end]
    where = chance.randrange(len(pieces))
    ways = (
        lambda: pieces[:begin] + pieces[end:],
        lambda: pieces[:end] + chosen + pieces[end:],
        lambda: pieces[:begin] + chosen * 20 + pieces[end:],
        lambda: pieces[:where] + chosen + pieces[where:],
        lambda: pieces[:begin] + [b"<a>"] * 40 + chosen + [b"</a>"] * 40 + pieces[end:],
        lambda: [*pieces[:begin], chance.choice(_WORDS), chance.choice(NUMBERS).encode(), *pieces[end:]],
    )
    return b"".join(chance.choice(ways)())


def _attribute(data: bytes, chance: random.Random) -> bytes:
    found = list(_QUOTED.finditer(data))
    if not found:
        return _number(data, chance)
    match = chance.choice(found)
    value = chance.choice(
        (b"", chance.choice(NUMBERS).encode(), chance.choice(_WORDS).replace(b'"', b""), chance.choice(found)[2], match[2] * 30)
    )
    return data[: match.start(2)] + value + data[match.end(2) :]


def _declared(data: bytes, chance: random.Random) -> bytes:
    head = chance.choice(
        (
            b'<!DOCTYPE a [<!ENTITY b "bb">]>', b"<!DOCTYPE a>", b'<!DOCTYPE a SYSTEM "file:///etc/passwd">', b'<?xml version="1.0" encoding="utf-16"?>',
            b'<?xml version="1.0" encoding="shift_jis"?>', b'<?xml version="1.0" encoding="cp037"?>', b'<?xml version="1.0" encoding="hex"?>',
            b'<!DOCTYPE a [<!ATTLIST image width CDATA "5">]>', b"<!--" + b"-" * 50 + b"-->", b"<![CDATA[x]]>",
        )
    )  # fmt: skip
    return head + re.sub(rb"^<\?xml[^>]*>", b"", data)


def yaml_text(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A YAML file: lines are moved in, out, away; values become what YAML has names for."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    words = (
        b"*a",
        b"&a b",
        b"!!python/object:os.system {}",
        b"{a: b}",
        b"[[[[]]]]",
        b"? a",
        b"- - - -",
        b"|",
        b">",
        b"null",
        b"~",
        b'"\\x"',
        b"%YAML 1.1",
        b"---",
        b"...",
        b"<<: *a",
        b"\t",
    )
    ways = (
        lambda: [*lines[:at], b"  " * chance.choice((1, 2, 20)) + lines[at], *lines[at + 1 :]],
        lambda: [*lines[:at], lines[at].strip(), *lines[at + 1 :]],
        lambda: [*lines[:at], lines[at].partition(b":")[0] + b": " + chance.choice(words), *lines[at + 1 :]],
        lambda: [*lines[:at], chance.choice(words), *lines[at:]],
        lambda: [plain_text(data, chance, blind)],
        lambda: [plain_text(data, chance, blind)],
    )
    return b"\n".join(chance.choice(ways)())


def _number(data: bytes, chance: random.Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return _spliced(data, chance)
    match = chance.choice(found)
    return data[: match.start()] + chance.choice((*NUMBERS, chance.choice(found)[0].decode())).encode() + data[match.end() :]


def _lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    begin = chance.randrange(len(lines))
    end = min(len(lines), begin + chance.choice((1, 1, 3)))
    times = chance.choice((0, 2, 2, 50))
    return b"\n".join(lines[:begin] + lines[begin:end] * times + lines[end:])


def _spliced(data: bytes, chance: random.Random) -> bytes:
    at, cut = chance.randrange(len(data) + 1), chance.choice((0, 0, 1, 4, 30))
    begin = chance.randrange(len(data) + 1)
    word = chance.choice((chance.choice(_WORDS), data[begin : begin + chance.choice((1, 8, 100))], chance.choice(NUMBERS).encode()))
    return data[:at] + word * chance.choice((1, 1, 1, 2, 60)) + data[at + cut :]


def _encoding(data: bytes, chance: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return chance.choice(
        (
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            text.encode("utf-8-sig"),
            text.encode("latin-1", "replace"),
            text.encode("utf-32"),
            data[: len(data) // 2],
        )
    )


_BY_SUFFIX: dict[str, Mutator] = {"json": json_text, "xml": xml_text, "yaml": yaml_text, "yml": yaml_text}


def files(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A bundle: mostly the contents of a file change, now and then which files there are and what they are called."""
    found = unbundle(data)
    if not found or chance.random() < 0.05:
        return blind(data)
    texts = [at for at, (_, content) in enumerate(found) if content] or list(range(len(found)))
    at, what = chance.choice(texts), chance.random()
    path, content = found[at]
    if what < 0.8:
        change = _BY_SUFFIX.get(path.rpartition(".")[2].lower(), plain_text)
        found[at] = path, change(content, chance, blind).replace(b"\x1e", b"")
    elif what < 0.85:
        del found[chance.randrange(len(found))]
    else:
        other = chance.randrange(len(found))
        name = _renamed(found[other][0], chance)
        found.insert(chance.randrange(len(found) + 1), (name, found[other][1])) if chance.random() < 0.5 else found.__setitem__(
            other, (name, found[other][1])
        )
    return b"".join(bundle({path: content}) for path, content in found)


def _renamed(path: str, chance: random.Random) -> str:
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    ways = (
        path.upper(), f"train/{path}", f"val/{path}", f"images/{name}", f"labels/{name}", name, f"{path}.txt", f"{folder}/{stem}.{chance.choice(('json', 'xml', 'txt', 'yaml', 'csv', 'jpg', 'PNG', 'names', 'data', 'jsonl'))}",
        f"{folder}/#{name}", f"{folder}/a b.{suffix}", f"{folder}/%41.{suffix}", f"deep/{'x/' * 20}{name}", f"{folder}/{chr(233)}{name}", f"{folder}/classes.txt", f"ImageSets/Main/{name}",
    )  # fmt: skip
    return chance.choice(ways).lstrip("/")
