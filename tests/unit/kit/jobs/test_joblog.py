"""Reading a log that grows, ends and is merged meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from visionyard.kit.jobs import joblog
from visionyard.kit.jobs.joblog import LogReader, log_prefix, merge
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import NotFound

NAME = ResourceName("default", JobKind.TRAINING.collection, "j")


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


def ship(store: MemoryObjectStore, attempt: int, *lines: bytes) -> None:
    """Puts chunks of a line each behind those that are there."""
    at = sum(entry.size for entry in store.list(log_prefix(NAME, attempt)))
    for line in lines:
        store.put(f"{log_prefix(NAME, attempt)}{at:012d}", line)
        at += len(line)


def text(pieces: object) -> bytes:
    return b"".join(data for _, data in pieces)  # type: ignore[attr-defined]


def test_a_follower_reads_each_line_once_over_merges_and_attempts(store: MemoryObjectStore, tmp_path: Path) -> None:
    reader = LogReader(store, NAME, 0)
    ship(store, 1, b"one\n", b"two\n")
    assert text(reader.read(1)) == b"one\ntwo\n"
    ship(store, 1, b"three\n")
    assert text(reader.read(1)) == b"three\n"
    (tmp_path / "log").write_bytes(b"one\ntwo\nthree\nKilled")
    merge(store, NAME, 1, tmp_path / "log")
    ship(store, 2, b"four\n")
    assert list(reader.read(2)) == [(14, b"Killed"), (20, b"four\n")]
    assert list(reader.read(2)) == []


def test_what_was_merged_away_before_it_was_read_is_read_from_the_whole(
    store: MemoryObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(store, 1, b"one\n", b"two\n", b"three\n")
    (tmp_path / "log").write_bytes(b"one\ntwo\nthree\n")
    get = store.get

    def get_and_merge(key: str, *arguments: int) -> object:
        found = get(key, *arguments)
        first = f"{log_prefix(NAME, 1)}{0:012d}"
        if key == first and found.data == b"one\n":  # somebody merges, and has deleted the second chunk but not the third
            store.put(first, b"one\ntwo\nthree\n")
            store.delete(f"{log_prefix(NAME, 1)}{4:012d}")
        return found

    monkeypatch.setattr(store, "get", get_and_merge)
    assert text(LogReader(store, NAME, 0).read(1)) == b"one\ntwo\nthree\n"


def test_following_a_long_log_lists_only_what_is_new(store: MemoryObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(store, 1, *[b"x\n"] * 2000)
    reader = LogReader(store, NAME, 0)
    assert len(text(reader.read(1))) == 4000
    listed, plain = [], store.list

    def counting(*arguments: object, **options: object) -> object:
        for entry in plain(*arguments, **options):  # type: ignore[arg-type]
            listed.append(entry.key)
            yield entry

    monkeypatch.setattr(store, "list", counting)
    assert list(reader.read(1)) == []
    assert listed == []


@pytest.mark.parametrize("offset", [0, 3, 4, 9, 14, 100])
def test_an_offset_anywhere(store: MemoryObjectStore, offset: int) -> None:
    ship(store, 1, b"one\n", b"two\n")
    ship(store, 2, b"three\n")
    assert text(joblog.read(store, NAME, 2, offset)) == b"one\ntwo\nthree\n"[offset:]


def test_a_job_without_a_log(store: MemoryObjectStore) -> None:
    assert list(joblog.read(store, NAME, 3, 0)) == []
    with pytest.raises(NotFound):
        store.head(f"{log_prefix(NAME, 1)}{0:012d}")
