"""Archives from strangers: what is read, and a case for each way of being refused."""

import bz2
import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_archives import FILES, KINDS, entries, packed
from tests.unit.dataset.conftest import tarred, zipped

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.archives.joined import JoinedArchive
from visionyard.dataset.archives.noted import NotedArchive
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.archives.tarred import _read_header
from visionyard.kit.errors import Reason, YardError


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_and_can_be_read_again(kind):
    data = packed(kind, FILES)
    archive = open_archive(io.BytesIO(data), len(data), "x", ArchiveLimits())
    for _ in range(2):
        assert {entry.path: content for entry, content in archive.read(lambda _: True)} == FILES
    assert set(entries(data, wanted=lambda entry: entry.path.endswith("jpg")).values()) == {None, FILES["a/images/1.jpg"]}


@pytest.mark.parametrize("kind", [*KINDS, "joined"])
def test_files_are_fetched_by_their_places(kind):
    files = {**FILES, ".hidden": b"x", **{f"b/{n}.jpg": bytes([n]) * (n * 300) for n in range(40)}, "last.txt": b"z"}
    parts = [files, {"0.jpg": b"one", "1.jpg": b"two"}] if kind == "joined" else [files]
    opened = []
    for part in parts:
        data = packed("tar.gz" if kind == "joined" else kind, part)
        opened.append(open_archive(io.BytesIO(data), len(data), "x", ArchiveLimits(file_bytes=9000)))
    archive = NotedArchive(JoinedArchive(*opened) if kind == "joined" else opened[0], lambda *_: None)
    found = [entry for entry, _ in archive.read(lambda _: False)]
    assert [entry.place for entry in found] == sorted({entry.place for entry in found})
    assert len(found) == sum(map(len, parts)) - 1
    contents = dict(files) | {f"images/{path}": data for path, data in parts[-1].items() if kind == "joined"}
    for some in (found, found[1::3], found[-1:], []):
        expected = [(entry.path, None if entry.too_large else contents[entry.path]) for entry in some]
        assert list(archive.fetch((entry.place, entry.size, entry.path) for entry in some)) == expected
        assert list(archive.fetch([(entry.place, entry.size, entry.path) for entry in some])) == expected
    assert sum(entry.too_large for entry in found) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_clutter_is_passed_over(kind):
    clutter = dict.fromkeys(["__MACOSX/a/._1.jpg", "a/.DS_Store", "a/Thumbs.db", ".git/config", "a/.ipynb_checkpoints/x.txt"], b"x")
    assert entries(packed(kind, {**clutter, **FILES})) == FILES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated(kind, part):
    files = {f"{i}.jpg": os.urandom(5000) for i in range(20)}
    data = packed(kind, files)
    with pytest.raises(YardError) as caught:
        entries(data[: int(len(data) * part)])
    assert caught.value.reason is Reason.ARCHIVE_TRUNCATED


def test_a_tar_cut_between_entries_is_truncated():
    data = tarred({"a.txt": b"x" * 512, "b.txt": b"y" * 512})
    with pytest.raises(YardError) as caught:
        entries(data[:1024])
    assert caught.value.reason is Reason.ARCHIVE_TRUNCATED


NO_ARCHIVES = {
    "nothing": b"",
    "noise": b"\x07" * 5000,
    "a picture": b"\xff\xd8\xff\xe0" + bytes(1000),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(600),
    "rar": b"Rar!\x1a\x07\x00" + bytes(600),
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "a text in gzip": gzip.compress(b"hello " * 300),
    "noise in gzip": b"\x1f\x8b" + b"\x07" * 500,
    "noise in zstd": b"\x28\xb5\x2f\xfd" + b"\xff" * 500,
}


@pytest.mark.parametrize("case", NO_ARCHIVES)
def test_no_archive(case):
    with pytest.raises(YardError) as caught:
        entries(NO_ARCHIVES[case])
    assert caught.value.reason is Reason.ARCHIVE_UNREADABLE
    assert caught.value.metadata["file"] == "x"


def test_encrypted():
    data = bytearray(zipped(FILES))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(magic)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(magic, at + 1)
    with pytest.raises(YardError) as caught:
        entries(bytes(data))
    assert caught.value.reason is Reason.ARCHIVE_ENCRYPTED


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tars(type_):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("images/link.jpg")
        info.type, info.linkname = type_, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(YardError) as caught:
        entries(buffer.getvalue())
    assert caught.value.reason is Reason.ARCHIVE_UNSAFE_PATH


def test_links_in_zips():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(YardError) as caught:
        entries(buffer.getvalue())
    assert caught.value.reason is Reason.ARCHIVE_UNSAFE_PATH


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
def test_bombs(kind):
    with pytest.raises(YardError) as caught:
        entries(packed(kind, {**FILES, "zeros.jpg": bytes(100 << 20)}))
    assert caught.value.reason is Reason.ARCHIVE_BOMB


def liar(payload, method, declared):
    """A zip of one file that announces `declared` zeros and holds `payload`."""
    name, crc = b"a.txt", zlib.crc32(bytes(declared))
    sizes = (crc, len(payload), declared, len(name), 0)
    local = struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 0, method, 0, 0, *sizes) + name
    central = struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 20, 20, 0, method, 0, 0, *sizes, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(payload), 0)
    return local + payload + central + end


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_file_that_holds_more_than_it_announces_costs_no_memory(method):
    unpacked = 48 << 20
    if method == zipfile.ZIP_BZIP2:
        payload = bz2.compress(bytes(unpacked))
    else:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        payload = packer.compress(bytes(unpacked)) + packer.flush()
    data = liar(payload, method, 5000)
    tracemalloc.start()
    try:
        got = entries(data)
    except YardError as error:
        got = error.reason
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    if method == zipfile.ZIP_BZIP2:
        assert got is Reason.ARCHIVE_UNREADABLE


@pytest.mark.parametrize("damage", ["none", "crc", "cut", "longer"])
def test_bzip2_in_zips(damage):
    content = {"a.txt": os.urandom(300_000) + bytes(300_000), "empty.txt": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    if damage == "none":
        assert entries(buffer.getvalue()) == content
        return
    packed_wrong = {"crc": bz2.compress(b"x" * 500), "cut": bz2.compress(bytes(500))[:-12], "longer": bz2.compress(bytes(501))}
    with pytest.raises(YardError) as caught:
        entries(liar(packed_wrong[damage], zipfile.ZIP_BZIP2, 500))
    assert caught.value.reason is Reason.ARCHIVE_UNREADABLE


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_as_many_files_as_a_zip_holds_without_zip64_and_one_more(count):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(count):
            archive.writestr(zipfile.ZipInfo(f"{i}.txt"), b"")
    data = buffer.getvalue()
    read = open_archive(io.BytesIO(data), len(data), "x", ArchiveLimits()).read(lambda _: False)
    assert sum(1 for _ in read) == count


def test_a_zip64_record_counts_whatever_the_end_record_says():
    data = zipped({"a.txt": b"x"})
    end = data[-22:]
    directory_bytes, directory_at = struct.unpack_from("<LL", end, 12)
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 3_000_000, 3_000_000, directory_bytes, directory_at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1)
    with pytest.raises(YardError) as caught:
        entries(data[:-22] + record + locator + end)
    assert caught.value.reason is Reason.ARCHIVE_BOMB
    with pytest.raises(YardError) as caught:
        entries(data[:-22] + bytes(56) + locator + end)
    assert caught.value.reason is Reason.ARCHIVE_UNREADABLE


def test_files_that_share_their_bytes_are_a_bomb():
    data = bytearray(zipped({"a": os.urandom(2000), "b": os.urandom(2000)}))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = (10).to_bytes(4, "little")
    with pytest.raises(YardError) as caught:
        entries(bytes(data))
    assert caught.value.reason is Reason.ARCHIVE_BOMB


@pytest.mark.parametrize("kind", KINDS)
def test_limits(kind):
    data = packed(kind, FILES)
    with pytest.raises(YardError) as caught:
        entries(data, ArchiveLimits(entries=3))
    assert caught.value.reason is Reason.ARCHIVE_BOMB
    found = {
        entry.path: (entry.too_large, content)
        for entry, content in open_archive(io.BytesIO(data), len(data), "x", ArchiveLimits(file_bytes=2000)).read(lambda _: True)
    }
    assert found["a/images/1.jpg"] == (True, None)
    assert found["a/labels/1.txt"] == (False, FILES["a/labels/1.txt"])


def test_an_extended_header_of_any_size_is_a_bomb():
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, 7 << 30
    with pytest.raises(YardError) as caught:
        entries(info.tobuf() + bytes(4096))
    assert caught.value.reason is Reason.ARCHIVE_BOMB


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(KINDS), at=st.floats(0, 1), value=st.integers(0, 255), count=st.integers(1, 8))
def test_damage_gives_an_answer_or_a_clear_refusal(kind, at, value, count):
    data = bytearray(packed(kind, FILES))
    begin = int(at * (len(data) - count))
    data[begin : begin + count] = bytes([value]) * count
    refusal = None
    try:
        entries(bytes(data), ArchiveLimits(unpacked_bytes=1 << 20))
    except YardError as error:
        refusal = error
    assert refusal is None or refusal.reason.name.startswith("ARCHIVE_")


def _parsed(read, block):
    try:
        header = read(block)
    except tarfile.HeaderError:
        return None
    return header.name, header.type, header.size


@given(
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]),
    st.text("ab/\u00e9", min_size=1, max_size=60),
    st.integers(0, 8**11 - 1),
    st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME]),
    st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=3),
    st.booleans(),
)
def test_a_header_means_what_tarfile_makes_of_it(form, name, size, kind, damage, mended):
    """Whatever is read without tarfile comes out as tarfile has it, also of headers that are damaged but add up."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mtime = size, kind, 1_700_000_000
    block = bytearray(info.tobuf(form, "utf-8", "surrogateescape")[-512:])
    for at, value in damage:
        block[at] = value
    if mended:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    block = bytes(block)
    assert _parsed(_read_header, block) == _parsed(lambda data: tarfile.TarInfo.frombuf(data, "utf-8", "surrogateescape"), block)
