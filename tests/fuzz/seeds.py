"""What fuzzing of texts and sources starts from: small ones, made here, and those of the test data that are small, where it is at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import samples
from bundles import bundle

from visionyard.dataset.images import IMAGE_SUFFIXES

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VISIONYARD_TEST_DATA") or ROOT.parent / "shared" / "data")
"""Real files; may not be there."""
_MAX_REAL_BYTES = 24 << 10
Seeds = Callable[[], Iterator[bytes]]


def of_format(name: str) -> Seeds:
    """The seeds of one format, by its name."""
    made, real = samples.FORMATS[name]

    def seeds() -> Iterator[bytes]:
        for files in made():
            yield bundle(files)
        for folder in real:
            yield from _real(DATA / folder)

    return seeds


def _real(folder: Path) -> Iterator[bytes]:
    """The texts of a folder of the test data, its images without bytes; nothing where it is not at hand or more than small."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()} if folder.is_dir() else {}
    texts = {name: b"" if path.suffix[1:].lower() in IMAGE_SUFFIXES else path.read_bytes() for name, path in files.items()}
    if texts and sum(map(len, texts.values())) <= _MAX_REAL_BYTES:
        yield bundle(texts)


def of_all_formats() -> Iterator[bytes]:
    """Seeds of every format, and two labellings in one source."""
    for name, (made, _) in samples.FORMATS.items():
        yield from of_format(name)()
        if name in {"voc", "coco"}:
            yield bundle({**next(made()), **next(samples.yolo())})


def split_lists() -> Iterator[bytes]:
    """A data.yaml that names lists of images."""
    yield from map(bundle, samples.split_lists())


def voc_lists() -> Iterator[bytes]:
    """Lists of VOC's ImageSets, of two years."""
    yield from map(bundle, samples.voc_lists())


def darknet() -> Iterator[bytes]:
    """Darknet's obj.data with its lists."""
    yield from map(bundle, samples.darknet())
    yield from _real(DATA / "formats_2label/yolo1.1")


def json_texts() -> Iterator[bytes]:
    """Objects and lists of JSON."""
    yield json.dumps(samples.coco_document()).encode()
    for text in (
        "[]",
        "{}",
        '[1, -2.5e+5, "\\ud800\\u00e9", null, true, NaN, Infinity]',
        '{"a": [{"b": []}, [[]]], "c": "", "a": 1}',
        "[[[[1]]]]",
        '{"a": 12345678901234567890}',
    ):
        yield text.encode()
    yield '{"é": ["ü"]}'.encode("utf-16")
    yield b"\xef\xbb\xbf" + b'[{"a": 1}, {"b": "' + b"x" * 3000 + b'"}]'


def json_parts() -> Iterator[bytes]:
    """Files whose parts are read one by one."""
    yield json.dumps(samples.coco_document()).encode()
    for name in ("via", "labelstudio", "labelme", "createml"):
        for files in samples.FORMATS[name][0]():
            yield from (content.encode() for path, content in files.items() if path.endswith(".json"))
    yield from json_texts()


def json_lines() -> Iterator[bytes]:
    """JSON Lines."""
    yield b'{"a": 1}\n\n[1, 2]\r\n"x"\n{broken\n1e999\n'


def xml_texts() -> Iterator[bytes]:
    """The XML of three formats, and odd heads."""
    for made in (samples.voc, samples.cvat, samples.labelme3):
        for files in made():
            yield from (content.encode() for path, content in files.items() if path.endswith(".xml"))
    yield b"<?xml version='1.0' encoding='iso-8859-1'?><!-- a --><a b='\xe9'><![CDATA[<]]>&amp;&#233;<?p i?></a>"
    yield '<?xml version="1.0"?><a><b/></a>'.encode("utf-16")


def yaml_texts() -> Iterator[bytes]:
    """A data.yaml, and more of YAML than it needs."""
    yield samples.YAML.encode()
    yield b"%YAML 1.1\n---\n? a\n: - b\n  - {c: [d, 'e', \"f\\x41\\u00e9\"]}\nl: |\n  x\n  y\nm: >-\n  z\n...\n"
    yield b"names: &n [a]\nother: *n\nt: !!str 5\n"


def label_rows() -> Iterator[bytes]:
    """YOLO's rows."""
    yield samples.ROWS.encode()
    yield b"0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1\n1 0.5 0.5 0.2 0.2 0.4 0.4\n\n2.0 nan 1e999 -1 0\nx\n"


def masks() -> Iterator[bytes]:
    """Sizes and runs."""
    yield b"9 9 5g0"
    yield b"100 200 n24h27N20000"
    yield b"100 200 ,5,3,97,3,19892"
    yield b"65536 1024 ,0,67108864"


def addresses() -> Iterator[bytes]:
    """A list of what is allowed, a line feed, an address."""
    yield b"https://example.org/data, s3://bucket/sets\nhttps://example.org/data/a%20b.zip?token=x&y=z#part"
    yield b"s3://bucket\ns3://bucket/sets/one/"
    yield b"http://[2001:db8::1]:8080/\nhttp://[2001:db8::1]:8080/a/..;x/b"
    yield "https://bücher.example/\nHTTPS://b\u00fccher.example:443/ü.zip".encode()
