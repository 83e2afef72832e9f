"""Folders as tar streams: the same bytes for the same content, from any offset, and nothing but regular files."""

import hashlib
import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.client.errors import ClientError
from visionyard.client.sources import FileSource, FolderSource, open_source

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda n: n not in {".", ".."}
)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=2000), min_size=1, max_size=6)


def write(root, tree):
    """Writes what does not stand in the way of something else (a folder of a file's name); returns what was written."""
    written = {}
    for parts, content in tree.items():
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                continue
            path.write_bytes(content)
        except OSError:
            continue
        written["/".join(parts)] = content
    return written


def everything(source, offset=0):
    parts = []
    with source.open(offset) as reader:
        while data := reader.read(777):
            parts.append(data)
    return b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(tree=TREES, data=st.data())
def test_a_folder_is_a_tar_of_its_files_readable_from_any_offset(tree, data, tmp_path_factory):
    root = tmp_path_factory.mktemp("folder")
    written = write(root, tree)
    source = FolderSource(root)
    stream = everything(source)
    assert len(stream) == source.size_bytes
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        members = archive.getmembers()
        assert {m.name: archive.extractfile(m).read() for m in members} == written
        assert all((m.mtime, m.mode, m.uid, m.gid, m.uname) == (0, 0o644, 0, 0, "") for m in members)
        assert [os.fsencode(m.name) for m in members] == sorted(os.fsencode(name) for name in written)
    offset = data.draw(st.integers(0, len(stream)))
    assert everything(source, offset) == stream[offset:]


def test_times_modes_and_the_order_of_writing_change_nothing(tmp_path):
    files = {("images", "b.jpg"): b"b" * 600, ("images", "a.jpg"): b"a", ("data.yaml",): b"names: [x]\n"}
    one, two = tmp_path / "one" / "set", tmp_path / "two" / "set"
    write(one, files)
    write(two, dict(reversed(files.items())))
    (two / "data.yaml").chmod(0o600)
    os.utime(two / "images" / "a.jpg", (1, 1))
    assert everything(FolderSource(one)) == everything(FolderSource(two))
    assert FolderSource(one).name == "set.tar"


async def test_the_digest_is_that_of_the_bytes_and_progress_reaches_the_end(tmp_path):
    write(tmp_path, {("a.bin",): bytes(3_000_000)})
    source = FolderSource(tmp_path)
    seen = []
    digest = await source.sha256(lambda what, done, total: seen.append((what, done, total)))
    assert digest == hashlib.sha256(everything(source)).hexdigest()
    assert seen[-1] == ("reading", source.size_bytes, source.size_bytes)
    assert len(seen) > 2


def test_long_and_odd_names_survive(tmp_path):
    tree = {("x" * 120, "y" * 200 + ".txt"): b"1", ("Straße", "红绿灯.jpg"): b"2"}
    write(tmp_path, tree)
    (tmp_path / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"3")
    with tarfile.open(fileobj=io.BytesIO(everything(FolderSource(tmp_path))), errors="surrogateescape") as archive:
        assert set(archive.getnames()) == {"/".join(k) for k in tree} | {os.fsdecode(b"\xff\xfe.jpg")}


def test_links_and_special_files_are_left_out_and_named(tmp_path):
    write(tmp_path, {("a.txt",): b"a"})
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    source = FolderSource(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(everything(source))) as archive:
        assert archive.getnames() == ["a.txt"]
    assert "3 symbolic links or special files" in source.skipped[0]
    assert "link.txt" in source.skipped[0]


def test_a_file_is_sent_as_it_is(tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(b"0123456789")
    source = open_source(path)
    assert isinstance(source, FileSource)
    assert everything(source, 4) == b"456789"
    path.write_bytes(b"0123456789 and more")
    assert everything(source) == b"0123456789", "what grew meanwhile does not shift the stream"


def test_a_file_that_shrank_is_an_error(tmp_path):
    write(tmp_path, {("a.txt",): bytes(5000)})
    source = FolderSource(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"short")
    with pytest.raises(ClientError, match="changed while it was being uploaded"):
        everything(source)


@pytest.mark.parametrize(
    ("make", "reason"), [(lambda p: None, "FILE_NOT_FOUND"), (lambda p: p.mkdir(), "NO_IMAGES"), (os.mkfifo, "FILE_NOT_FOUND")]
)
def test_what_cannot_be_uploaded_is_said_plainly(tmp_path, make, reason):
    make(tmp_path / "it")
    with pytest.raises(ClientError) as error:
        open_source(tmp_path / "it")
    assert error.value.reason == reason
    assert str(tmp_path / "it") in error.value.message


async def test_a_source_is_known_by_paths_sizes_and_times(tmp_path):
    root = tmp_path / "set"
    write(root, {("a.bin",): b"a" * 100, ("b", "c.bin"): b"c"})
    known = await FolderSource(root).identity()
    assert await FolderSource(root).identity() == known
    (root / "a.bin").write_bytes(b"b" * 100)
    os.utime(root / "a.bin", (1, 1))
    touched = await FolderSource(root).identity()
    assert touched != known
    (root / "b" / "c.bin").rename(root / "b" / "d.bin")
    assert await FolderSource(root).identity() not in {known, touched}
    file = root / "a.bin"
    one = await FileSource(file).identity()
    assert await FileSource(file).identity() == one
    os.utime(file, (2, 2))
    assert await FileSource(file).identity() != one
