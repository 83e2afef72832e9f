"""Bad input of every kind, generated: what strangers send, small and harmless as data."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib

import cv2
import numpy as np

LABEL = "0 0.5 0.5 0.2 0.2\n"
DATA_YAML = "train: images\nval: images\nnames: [thing]\n"


def photo(seed: int = 0, width: int = 96, height: int = 64) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def zipped(entries: list[tuple[str, bytes | str]], **options: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def good() -> list[tuple[str, bytes | str]]:
    return [
        ("images/a.jpg", photo()),
        ("images/b.jpg", photo(1)),
        ("labels/a.txt", LABEL),
        ("labels/b.txt", LABEL),
        ("data.yaml", DATA_YAML),
    ]


def encrypted() -> bytes:
    data = bytearray(zipped(good()))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(magic)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(magic, at + 1)
    return bytes(data)


def entity_bomb() -> bytes:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 10}">' for i in range(12))
    xml = f'<?xml version="1.0"?><!DOCTYPE a [{entities}]><annotation><filename>a.jpg</filename><object><name>&e11;</name></object></annotation>'
    return zipped([("JPEGImages/a.jpg", photo()), ("Annotations/a.xml", xml)])


def external_entity() -> bytes:
    xml = (
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY secret SYSTEM "file:///etc/passwd">]><annotation><filename>a.jpg</filename>'
        "<object><name>&secret;</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    return zipped([("JPEGImages/a.jpg", photo()), ("Annotations/a.xml", xml)])


def yolo_with(rows: str, classes: str = DATA_YAML) -> bytes:
    return zipped(
        [("images/a.jpg", photo()), ("images/b.jpg", photo(1)), ("labels/a.txt", rows), ("labels/b.txt", rows), ("data.yaml", classes)]
    )


def huge_png(width: int = 50_000, height: int = 50_000) -> bytes:
    """A valid header that declares a picture of 50,000 x 50,000 pixels (7.5 GB decoded), with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


class _Runs:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def pickle_that_runs(path: str) -> bytes:
    return pickle.dumps(_Runs(path))


def checkpoint_that_runs(path: str) -> bytes:
    return zipped([("archive/data.pkl", pickle.dumps({"model": _Runs(path)}, protocol=2)), ("archive/version", "3\n")])


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36\nsize 6549796\n"


def yaml_that_runs(path: str) -> str:
    return (
        f"nc: 2\nactivation: __import__('os').system('touch {path}')\ndepth_multiple: 0.33\nwidth_multiple: 0.25\n"
        "backbone:\n  - [-1, 1, Conv, [64, 3, 2]]\n  - [-1, 1, Conv, [128, 3, 2]]\n  - [-1, 1, Conv, [256, 3, 2]]\nhead:\n  - [[0, 1, 2], 1, Detect, [nc]]\n"
    )
