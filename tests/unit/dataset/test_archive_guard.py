"""Archives that were made to do harm, beyond what test_archives.py has: tricks of headers, names and sizes, each refused with its reason, or read as what it says, at no cost."""

import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest
from packed_archives import entries, packed
from tests.unit.dataset.conftest import tarred, zipped

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.kit.errors import Reason, YardError

END = bytes(1024)


def refusal(data, limits=None):
    with pytest.raises(YardError) as caught:
        entries(data, limits)
    return caught.value.reason


def block(name, type_=b"0", size=0, data=b""):
    """An entry of a tar as it lies in it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = type_, size or len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def pax(record, type_=tarfile.XHDTYPE):
    """An extended header with records as they are given."""
    return block("pax", type_, data=record)


def record(key, value):
    """A record with its own length before it."""
    body = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (pax(record("path", "../../etc/passwd")), Reason.ARCHIVE_UNSAFE_PATH),
        (pax(record("path", "/etc/passwd")), Reason.ARCHIVE_UNSAFE_PATH),
        (pax(record("path", "C:\\x")), Reason.ARCHIVE_UNSAFE_PATH),
        (pax(record("path", "x" * 5000)), Reason.ARCHIVE_UNSAFE_PATH),
        (pax(record("size", "-512")), Reason.ARCHIVE_UNREADABLE),
        (pax(record("size", "x")), Reason.ARCHIVE_UNREADABLE),
        (pax(record("size", "9" * 5000)), Reason.ARCHIVE_UNREADABLE),
        (pax(record("size", str(1 << 60))), Reason.ARCHIVE_TRUNCATED),
        (pax(record("GNU.sparse.realsize", "5")), Reason.ARCHIVE_UNREADABLE),
        (pax(b"99999999999 path=a\n"), Reason.ARCHIVE_UNREADABLE),
        (pax(b"3 path=a\n"), Reason.ARCHIVE_UNREADABLE),
        (pax(b"0 =\n"), Reason.ARCHIVE_UNREADABLE),
        (pax(b"-9 path=a\n"), Reason.ARCHIVE_UNREADABLE),
        (pax(b"path=a\n"), Reason.ARCHIVE_UNREADABLE),
        (block("././@LongLink", tarfile.GNUTYPE_LONGNAME, data=b"../up\0"), Reason.ARCHIVE_UNSAFE_PATH),
        (block("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1 << 33), Reason.ARCHIVE_BOMB),
        (block("././@LongLink", tarfile.GNUTYPE_LONGLINK, size=1 << 33), Reason.ARCHIVE_BOMB),
        (block("pax", tarfile.XGLTYPE, size=1 << 33), Reason.ARCHIVE_BOMB),
    ],
    ids=range(18),
)
def test_headers_before_a_tars_entry(header, reason):
    assert refusal(header + block("a.txt", data=b"x") + END) is reason


def test_what_a_global_header_or_a_links_name_says_moves_no_file():
    headers = pax(record("path", "../../x"), tarfile.XGLTYPE) + block("link", tarfile.GNUTYPE_LONGLINK, data=b"/etc/passwd\0")
    assert entries(headers + block("a.txt", data=b"x") + END) == {"a.txt": b"x"}


def test_an_extended_header_counts_for_one_entry_only():
    data = pax(record("path", "first.txt")) + block("a.txt", data=b"1") + block("b.txt", data=b"2") + END
    assert entries(data) == {"first.txt": b"1", "b.txt": b"2"}


def test_headers_without_end_are_too_many_entries():
    assert refusal(pax(record("comment", "x")) * 50 + END, ArchiveLimits(entries=40)) is Reason.ARCHIVE_BOMB


@pytest.mark.parametrize("packing", [gzip.compress, lambda data: data])
def test_an_entry_of_exabytes_is_truncated_at_no_cost(packing):
    tracemalloc.start()
    assert refusal(packing(block("a.skip", size=1 << 62) + END)) is Reason.ARCHIVE_TRUNCATED
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
@pytest.mark.parametrize("name", ["x.jpg", ".hidden"])
def test_links_and_devices_in_zips(kind, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert refusal(buffer.getvalue()) is Reason.ARCHIVE_UNSAFE_PATH


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_hidden_links_in_tars_are_refused_too(type_):
    assert refusal(block(".git/x", type_) + END) is Reason.ARCHIVE_UNSAFE_PATH


def test_an_extra_field_does_not_climb():
    name, path = b"a.txt", b"../../up.txt"
    field = struct.pack("<BL", 1, zlib.crc32(name)) + path
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name.decode())
        info.extra = struct.pack("<HH", 0x7075, len(field)) + field
        archive.writestr(info, "x")
    assert refusal(buffer.getvalue()) is Reason.ARCHIVE_UNSAFE_PATH


def test_a_file_is_called_as_the_list_says_or_the_zip_is_refused():
    data = zipped({"a.txt": b"x"})
    assert refusal(data.replace(b"a.txt", b"/b.tx", 1)) is Reason.ARCHIVE_UNREADABLE


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.zst"])
def test_a_bomb_within_an_archive_stays_packed(kind):
    bomb = zipped({"zeros": bytes(200 << 20)})
    found = entries(packed(kind, {"in.zip": bomb, "a.txt": b"x"}), wanted=lambda entry: entry.path == "a.txt")
    assert found == {"in.zip": None, "a.txt": b"x"}


def test_gzip_in_many_members_is_one_bomb():
    tar = tarred({"zeros.jpg": bytes(100 << 20)})
    members = b"".join(gzip.compress(tar[at : at + (1 << 20)]) for at in range(0, len(tar), 1 << 20))
    assert refusal(members) is Reason.ARCHIVE_BOMB


def test_two_lists_of_the_same_file_are_a_bomb():
    data = zipped({"a": os.urandom(2000)})
    begin = data.rfind(b"PK\x01\x02")
    entry, end = data[begin:-22], bytearray(data[-22:])
    struct.pack_into("<HHL", end, 8, 2, 2, 2 * len(entry))
    assert refusal(data[:begin] + entry * 2 + bytes(end)) is Reason.ARCHIVE_BOMB
