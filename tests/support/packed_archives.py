"""Archives made for tests, and what is read of them."""

import io

import zstandard
from tests.unit.dataset.conftest import tarred, zipped

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.archives.opened import open_archive

FILES = {"a/images/1.jpg": b"\xff" * 3000, "a/labels/1.txt": b"0 .5 .5 .1 .1\n", "a/empty.txt": b"", "a/" + "long" * 60 + ".txt": b"x"}


def entries(data, limits=None, wanted=lambda _: True):
    return {
        entry.path: content for entry, content in open_archive(io.BytesIO(data), len(data), "x", limits or ArchiveLimits()).read(wanted)
    }


def packed(kind, files):
    if kind == "zip":
        return zipped(files)
    if kind == "tar.zst":
        return zstandard.compress(tarred(files))
    return tarred(files, {"tar": "w", "tar.gz": "w:gz"}[kind])


KINDS = ["zip", "tar", "tar.gz", "tar.zst"]
