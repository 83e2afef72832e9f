"""Names in archives: of any encoding and from any system, unsafe ones, those that look alike, archives within."""

import io
import struct
import zlib

import pytest
from packed_archives import FILES, KINDS, entries, packed
from tests.unit.dataset.conftest import tarred, zipped

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.archives.noted import NotedArchive
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.findings import Code
from visionyard.kit.errors import Reason, YardError

UNSAFE = ["../x", "a/../../x", "/etc/passwd", "C:\\x", "C:/x", "a\\b", "..\\x", "x" * 2000, "/".join("d" * 100)]


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("kind", KINDS)
def test_unsafe_paths(kind, path):
    with pytest.raises(YardError) as caught:
        entries(packed(kind, {**FILES, path: b"x"}))
    assert caught.value.reason is Reason.ARCHIVE_UNSAFE_PATH


DOS, UNIX = 0, 3


def raw_zip(names, system=UNIX, extra=b""):
    """A zip whose names are these bytes, without saying that they are UTF-8; each file holds its own name."""
    locals_, centrals = b"", b""
    for name in names:
        packed = (zlib.crc32(name), len(name), len(name), len(name))
        central = struct.pack("<4sBBHHHHHLLLHHHHHLL", b"PK\1\2", 20, system, 20, 0, 0, 0, 0, *packed, len(extra), 0, 0, 0, 0, len(locals_))
        centrals += central + name + extra
        locals_ += struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 0, 0, 0, 0, *packed, 0) + name + name
    return locals_ + centrals + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, len(names), len(names), len(centrals), len(locals_), 0)


def raw_tar(names):
    """A tar whose names are these bytes; each file holds its own name."""
    return tarred({name.decode("utf-8", "surrogateescape"): name for name in names})


@pytest.mark.parametrize("pack", [raw_zip, raw_tar])
@pytest.mark.parametrize("encoding", ["gbk", "cp437", "cp1252", "shift_jis", "utf-8"])
def test_names_in_any_encoding_stay_apart_and_can_be_written(pack, encoding):
    texts = {
        "cp437": ["\u00e9t\u00e9", "\u00f1and\u00fa"],
        "cp1252": ["\u00e9t\u00e9", "\u00f1and\u00fa"],
        "shift_jis": ["\u65e5\u672c", "\u6f22\u5b57"],
    }
    names = [f"{text}.jpg".encode(encoding) for text in texts.get(encoding, ["\u56fe\u7247\u4e00", "\u56fe\u7247\u4e8c"])]
    found = entries(pack(names))
    assert sorted(found.values()) == sorted(names)
    assert all(path.isprintable() and path.encode().decode() == path and "\ufffd" not in path for path in found)
    if encoding == "utf-8" or (encoding == "cp437" and pack is raw_zip):
        assert {path.encode(encoding) for path in found} == set(names)


def test_a_folder_keeps_its_name_whatever_its_files_are_called():
    found = entries(raw_tar(["\u56fe/1.jpg".encode(), "\u56fe/".encode() + b"\x82.jpg"]))
    assert set(found) == {"\u56fe/1.jpg", "\u56fe/\u00e9.jpg"}


def test_a_zip_that_tells_the_name_in_an_extra_field():
    name, right = "\u6570\u636e.jpg".encode("gbk"), "\u6570\u636e.jpg"
    field = struct.pack("<BL", 1, zlib.crc32(name)) + right.encode()
    assert set(entries(raw_zip([name], extra=struct.pack("<HH", 0x7075, len(field)) + field))) == {right}
    stale = struct.pack("<BL", 1, zlib.crc32(b"renamed since")) + right.encode()
    assert set(entries(raw_zip([name], extra=struct.pack("<HH", 0x7075, len(stale)) + stale))) == {name.decode("cp437")}


def test_backslashes_of_old_windows_tools_are_slashes():
    names = [b"set\\images\\1.jpg", b"set\\labels\\1.txt", "set\\\u00e9.txt".encode("cp850"), "\u6570\u636e\\1.jpg".encode("gbk")]
    found = entries(raw_zip(names, DOS))
    assert {"set/images/1.jpg", "set/labels/1.txt", "set/\u00e9.txt"} < set(found)
    assert sorted(found.values()) == sorted(names)
    assert all(path.count("/") == name.count(b"\\") for path, name in found.items())


@pytest.mark.parametrize(
    ("names", "system"),
    [
        ([b"set\\1.jpg"], UNIX),
        ([b"set/1.jpg", b"set/a\\b.jpg"], DOS),
        ([b"..\\x"], DOS),
        ([b"a\\..\\..\\x"], DOS),
        ([b"C:\\x"], DOS),
        ([b"\\\\server\\share\\x"], DOS),
        (["\u8868.jpg".encode("shift_jis")], DOS),  # its second byte is a backslash's: a separator would make it a hidden file, lost
    ],
)
def test_other_backslashes_are_refused(names, system):
    with pytest.raises(YardError) as caught:
        entries(raw_zip(names, system))
    assert caught.value.reason is Reason.ARCHIVE_UNSAFE_PATH


def noted(data):
    """The paths that are read, and what is noted, over two readings."""
    notes = []
    archive = NotedArchive(open_archive(io.BytesIO(data), len(data), "x", ArchiveLimits()), lambda *note: notes.append(note))
    read = [[entry.path for entry, _ in archive.read(lambda _: True)] for _ in range(2)]
    assert read[0] == read[1]
    return read[0], [(code, path) for code, _, path in notes]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_inside_is_listed_and_not_unpacked(kind):
    inner = zipped({"inside.jpg": b"x"})
    paths, notes = noted(packed(kind, {"more.zip": inner, "a/MORE.TAR.GZ": b"x", "a.jpg": b"x"}))
    assert sorted(paths) == ["a.jpg", "a/MORE.TAR.GZ", "more.zip"]
    assert notes == [(Code.NESTED_ARCHIVE, "more.zip"), (Code.NESTED_ARCHIVE, "a/MORE.TAR.GZ")]


@pytest.mark.parametrize("kind", KINDS)
def test_paths_that_differ_in_case_only_are_two_files_and_listed(kind):
    files = {"i/a.JPG": b"1", "i/A.jpg": b"2", "I/a.jpg": b"3", "i/b.jpg": b"4"}
    assert entries(packed(kind, files)) == files
    assert noted(packed(kind, files))[1] == [(Code.PATHS_ALIKE, "i/A.jpg"), (Code.PATHS_ALIKE, "I/a.jpg")]
