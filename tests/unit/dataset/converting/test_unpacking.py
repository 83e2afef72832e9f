"""Archives written down for a program that wants files: what could do harm is refused, and nothing is written elsewhere."""

import io
import shutil
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import picture, tarred, zipped

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.converting.unpacking import unpack
from visionyard.kit.errors import Reason, YardError


def opened(data, **limits):
    return open_archive(io.BytesIO(data), len(data), "the.zip", ArchiveLimits(**limits))


@pytest.fixture
def unpacked(tmp_path):
    """Unpacks an archive; returns its files by path."""

    def run(data, reserve=0, on_file=lambda _: None, **limits):
        folder = tmp_path / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        unpack(opened(data, **limits), folder, reserve, on_file)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return run


def refused(unpacked, data, **options):
    with pytest.raises(YardError) as caught:
        unpacked(data, **options)
    return caught.value.reason


def test_files_lie_where_the_archive_has_them(unpacked):
    files = {
        "a/b/c.txt": b"text",
        "a/d.jpg": picture(1),
        "e": b"",
        "ümlaut/ß.txt": b"x",
        ".hidden/x": b"",
        "__MACOSX/a": b"",
        "a/Thumbs.db": b"",
    }
    wanted = {path: data for path, data in files.items() if path in {"a/b/c.txt", "a/d.jpg", "e", "ümlaut/ß.txt"}}
    assert unpacked(zipped(files)) == unpacked(tarred(files)) == wanted


def test_of_several_files_of_one_path_the_first_counts(unpacked):
    once = tarred({"a.txt": b"first"}).rstrip(b"\0")
    both = once + b"\0" * (-len(once) % 512) + tarred({"./a.txt": b"second"})
    assert unpacked(both) == {"a.txt": b"first"}


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b/c", "a/b"),
        ("a/b", "a/b/c/d"),
        ("x" * 300,),
        ("x" * 300 + "/y",),
        ("../x",),
        ("/x",),
        ("a/../../x",),
    ],
)
def test_paths_that_no_file_has_are_refused(unpacked, paths):
    assert refused(unpacked, tarred(dict.fromkeys(paths, b"x"))) is Reason.ARCHIVE_UNSAFE_PATH


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20), min_size=1, max_size=5, unique=True
    )
)
def test_whatever_the_paths_nothing_is_written_elsewhere(unpacked, tmp_path, paths):
    with suppress(YardError):
        unpacked(zipped(dict.fromkeys(paths, b"x")))
    assert {path.name for path in tmp_path.iterdir()} == {"folder"}


def test_limits(unpacked):
    many = zipped({f"{i}.txt": b"x" * 100 for i in range(20)})
    assert refused(unpacked, many, entries=10) is Reason.ARCHIVE_BOMB
    assert refused(unpacked, many, unpacked_bytes=1000) is Reason.ARCHIVE_BOMB
    assert refused(unpacked, many, file_bytes=50) is Reason.REQUEST_TOO_LARGE


def test_what_the_disk_cannot_spare_is_refused_and_a_stop_is_heard(unpacked, monkeypatch):
    files = zipped({f"{i}.txt": b"x" * 100 for i in range(20)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30_000))
    assert refused(unpacked, files, reserve=29_000) is Reason.DISK_FULL
    monkeypatch.undo()

    def stop(count):
        if count == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpacked(files, on_file=stop)
