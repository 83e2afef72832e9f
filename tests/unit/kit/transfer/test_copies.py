"""Copies of uploads on this machine's disk: found only where they are whole, gone with their uploads."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from datetime import timedelta

import google_crc32c
import pytest

from visionyard.kit.errors import YardError
from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.transfer.copies import LocalCopies, LocalCopy
from visionyard.kit.transfer.uploads import UploadStore

DATA = os.urandom(1000) * 20


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "copies"


@pytest.fixture
def uploads(folder):
    return UploadStore(MemoryObjectStore(), 1 << 40, copies=LocalCopies(folder, keep_free_bytes=0))


def begun(uploads, data=DATA, sha256=""):
    return uploads.start(ProjectName("p"), len(data), sha256 or hashlib.sha256(data).hexdigest(), "r").name


def send(uploads, name, data, begin=0):
    writer = uploads.writer(name)
    writer.add(begin, data, google_crc32c.value(data))
    writer.store(writer.rest())
    return writer


def test_a_whole_upload_is_read_from_the_copy(uploads, folder):
    name = begun(uploads)
    send(uploads, name, DATA).finish()
    (copy,) = folder.iterdir()
    assert copy.read_bytes() == DATA
    copy.write_bytes(DATA[::-1])  # so that what is read tells where it came from
    with uploads.open(name) as file:
        assert file.read() == DATA[::-1]
    copy.write_bytes(DATA[:-1])
    with uploads.open(name) as file:
        assert file.read() == DATA
    uploads.delete(name)
    assert not list(folder.iterdir())


def test_an_upload_that_came_in_pieces_has_no_copy(uploads, folder):
    name = begun(uploads)
    send(uploads, name, DATA[:5000]).close()
    assert not list(folder.iterdir())
    send(uploads, name, DATA[5000:], 5000).finish()
    assert not list(folder.iterdir())
    with uploads.open(name) as file:
        assert file.read() == DATA


def test_other_bytes_than_announced_leave_no_copy(uploads, folder):
    name = begun(uploads, sha256="0" * 64)
    with pytest.raises(YardError, match="was announced"):
        send(uploads, name, DATA).finish()
    assert not list(folder.iterdir())


def test_no_copy_is_begun_on_a_full_disk(folder):
    assert LocalCopies(folder, keep_free_bytes=1 << 60).begin(begun(UploadStore(MemoryObjectStore(), 1 << 40)), 1) is None


def test_a_sweep_removes_what_belongs_to_nothing(uploads, folder):
    name = begun(uploads)
    send(uploads, name, DATA).finish()
    uploads.sweep(timedelta(days=1))
    assert len(list(folder.iterdir())) == 1
    UploadStore(uploads._store, 1 << 40).delete(name)  # from another machine
    left = folder / ".p+x.abc.part"  # of a service that was killed
    left.write_bytes(b"x")
    writing = send(uploads, begun(uploads, sha256="0" * 64), DATA[:5000])
    [under_way] = set(folder.glob(".*.part")) - {left}
    uploads.sweep(timedelta(days=1))
    assert list(folder.iterdir()) == [under_way]
    writing.close()
    assert not list(folder.iterdir())


def test_a_copy_that_is_dropped_while_it_is_written_leaves_nothing(folder, monkeypatch):
    """As a service that stops drops it: its thread may be about to make the file, or in the midst of its bytes."""
    folder.mkdir()
    copy, inside = LocalCopy(folder / "p+x"), threading.Event()

    def slow(*arguments, **options):
        inside.set()
        time.sleep(0.2)
        return mkstemp(*arguments, **options)

    mkstemp = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", slow)
    writing = threading.Thread(target=copy.write, args=(DATA,))
    writing.start()
    assert inside.wait(5)
    copy.drop()
    writing.join()
    copy.write(DATA)
    assert not list(folder.iterdir())


def test_a_disk_that_no_longer_deletes_is_no_error(folder, monkeypatch):
    folder.mkdir()
    copy = LocalCopy(folder / "p+x")
    copy.write(DATA)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    copy.keep()
    copy.drop()
