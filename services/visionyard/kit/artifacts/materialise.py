"""A dataset version as the folder that Ultralytics trains on, in a local cache that several processes share.

``{cache_dir}/{digest}/`` holds ``data.yaml`` (with an absolute ``path``), ``images/{split}/`` and ``labels/{split}/``, or the folders of the classes
and their list (:mod:`.layout`). Everything in it is written
here: nothing of a user's ``data.yaml`` (whose ``download:`` Ultralytics would run) or ``.cache`` (which it unpickles) gets in. A folder is built under another
name and renamed when it is complete. ``{digest}.lock`` beside it is held shared by whoever uses the folder and alone by whoever builds or removes it, with
flock(2), which ends with its process however that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from visionyard.kit.artifacts.dataset import DatasetVersion, fetch_manifest, read_images
from visionyard.kit.artifacts.layout import CLASS_LIST, class_folders, data_yaml, image_path, label_path, label_texts
from visionyard.kit.artifacts.manifest import ManifestRow, decode_images, decode_labels, decode_manifest
from visionyard.kit.cpus import usable_cpus
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.file_writer import FileWriter
from visionyard.kit.objectstore.port import ObjectStore

_SIZE_FILE = ".complete"
_BUILDING = ".building-"
_KEEP_FREE_BYTES = 256 << 20
_MOST_STREAMS = 4
_LEAST_STREAM_BYTES, _STREAM_BYTES = 4 << 20, 64 << 20
"""A request's worth. SeaweedFS spends twice as much CPU on a set in requests of 4 MiB as in one stream (docs/performance.md)."""
_TELL_S = 0.2
_LABELS_AT_ONCE = 512


@contextmanager
def materialise(
    store: ObjectStore,
    version: DatasetVersion,
    cache_dir: Path,
    limit_bytes: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Path]:
    """Gives the folder of a version, made now or found in the cache, and keeps it from being removed until the block ends. Blocks.

    ``with materialise(...) as folder: train(data=folder / "data.yaml")``. Several processes may ask for the same version: one builds, the others wait.
    What a killed builder had written is checked and used.

    Args:
        store: The bucket.
        version: The version. One without a val split gets its train split as ``val``, because Ultralytics wants one.
        cache_dir: The cache of this machine; made where it is not there.
        limit_bytes: The most that all folders together may hold; those used longest ago are removed, never one in use.
        on_progress: Called with the images fetched (written, or about to be) and the images in all; it may raise to stop, and what was written is used next time.

    Yields:
        The folder.

    Raises:
        YardError: DISK_FULL, the version does not fit into the limit or on the disk; ARTIFACT_CORRUPT, images are missing.
        StoreUnavailable: the store does not answer.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    root = cache_dir.resolve()
    folder = root / version.digest.removeprefix("sha256:")
    with (root / f"{folder.name}.lock").open("a+") as lock:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if (folder / _SIZE_FILE).is_file():
                break
            fcntl.flock(lock, fcntl.LOCK_UN)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / _SIZE_FILE).is_file():
                _make_room(root, version, limit_bytes)
                _build(store, version, folder, lock.fileno(), on_progress or _ignore)
            # Turning LOCK_EX into LOCK_SH may let a remover in between (flock(2)), so the round begins again.
        os.utime(lock.name)  # used now
        yield folder


def _ignore(_done: int, _total: int) -> None:
    """Nobody asked for progress."""


def _building(folder: Path) -> Path:
    return folder.with_name(f"{_BUILDING}{folder.name}")


def _build(store: ObjectStore, version: DatasetVersion, folder: Path, lock: int, on_progress: Callable[[int, int], None]) -> None:
    """Images and labels are written side by side; ``lock`` stays taken until the last writer has ended."""
    building = _building(folder)
    begun = building.exists()
    manifest = fetch_manifest(store, version)
    with _Labels(manifest, version, building, lock) as labels:
        classes = class_folders(version) if version.task == "classify" else ()
        rows = list(decode_manifest(manifest) if classes else decode_images(manifest))
        for split, name in itertools.product({row.split for row in rows}, classes):
            (building / split / name).mkdir(parents=True, exist_ok=True)
        missing = [row for row in rows if not _is_there(building / image_path(row, classes), row)] if begun else rows
        there = len(rows) - len(missing)
        on_progress(there, len(rows))
        with FileWriter(building, [lock]) as files:
            for written in _fetch(store, version, missing, lambda row, image: files.add(image_path(row, classes), image)):
                on_progress(there + written, len(rows))
        size = sum(row.length for row in rows) + labels.size_bytes()
    if classes:
        (building / CLASS_LIST).write_text(json.dumps(classes), encoding="utf-8")
        if not (building / "val").exists():  # as in data.yaml
            (building / "val").symlink_to("train")
    else:
        (building / "data.yaml").write_text(data_yaml(version, str(folder)), encoding="utf-8")
    (building / _SIZE_FILE).write_text(str(size), encoding="ascii")
    if folder.exists():
        shutil.rmtree(folder)  # without the marker: a removal that was cut short
    building.rename(folder)


class _Labels:
    """Writes the label files of a version in a thread, from entering on; leaving early stops it. A ``classify`` version has none."""

    def __init__(self, manifest: bytes, version: DatasetVersion, building: Path, lock: int) -> None:
        self._manifest = manifest
        self._version = version
        self._building = building
        self._lock = lock
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(1, "labels")

    def __enter__(self) -> Self:
        self._writing = self._pool.submit(self._write_all) if self._version.task != "classify" else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True)

    def size_bytes(self) -> int:
        """Waits until all are written; how many bytes they have. Raises what writing raised."""
        return self._writing.result() if self._writing else 0

    def _write_all(self) -> int:
        size = 0
        with FileWriter(self._building, [self._lock]) as files:
            for splits, names, labels in decode_labels(self._manifest, _LABELS_AT_ONCE):
                for split, name, text in zip(splits, names, label_texts(labels, self._version), strict=True):
                    data = text.encode()
                    files.add(label_path(split, name), data)
                    size += len(data)
                if self._stopped.is_set():
                    break
        return size


def _fetch(
    store: ObjectStore, version: DatasetVersion, rows: list[ManifestRow], write: Callable[[ManifestRow, bytes], None]
) -> Iterator[int]:
    """Fetches images in threads, each with a stream of its own, and has them written there.

    Yields:
        How many were written until now, some times a second and in the end.

    Raises:
        Exception: what fetching or ``write`` raised.
    """
    stopped = threading.Event()
    # Each stream more wants the interpreter of this process: on two cores one is the fastest, by a sixth.
    streams = max(1, min(_MOST_STREAMS, usable_cpus() // 2))
    batches = list(_batches(rows, streams))
    written = [0] * len(batches)

    def fetch(number: int) -> None:
        for row, image in read_images(store, batches[number], version):
            write(row, image)
            written[number] += 1
            if stopped.is_set():
                return

    with ThreadPoolExecutor(streams, "images") as pool:
        left = {pool.submit(fetch, number) for number in range(len(batches))}
        try:
            while left:
                ended, left = wait(left, _TELL_S, FIRST_EXCEPTION)
                for batch in ended:
                    batch.result()
                yield sum(written)
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _batches(rows: list[ManifestRow], streams: int) -> Iterator[list[ManifestRow]]:
    """Neighbours in their shards, a stream each: large ones, but enough of them for ``streams`` at once."""
    stream_bytes = max(_LEAST_STREAM_BYTES, min(_STREAM_BYTES, sum(row.length for row in rows) // streams + 1))
    batch: list[ManifestRow] = []
    size = 0
    for row in sorted(rows, key=lambda row: (row.shard, row.offset)):
        if batch and size + row.length > stream_bytes:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.length
    if batch:
        yield batch


def _is_there(path: Path, row: ManifestRow) -> bool:
    try:
        return path.stat().st_size == row.length and hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
    except OSError:
        return False


def _make_room(root: Path, version: DatasetVersion, limit_bytes: int) -> None:
    needed = version.total_bytes
    if needed > limit_bytes:
        raise YardError(
            Reason.DISK_FULL,
            f"{version.name} holds {needed} bytes of images, more than the {limit_bytes} bytes that this machine's dataset cache may hold: raise the limit",
            {"path": "dataset cache"},
        )
    _remove_interrupted(root)
    held = {path.parent: _size(path) for path in root.glob(f"*/{_SIZE_FILE}") if not path.parent.name.startswith(_BUILDING)}
    for folder in sorted(held, key=_last_used):
        if sum(held.values()) + needed <= limit_bytes and _free_bytes(root) >= needed + _KEEP_FREE_BYTES:
            break
        if _remove_unused(folder):
            held[folder] = 0
    if _free_bytes(root) < needed + _KEEP_FREE_BYTES:
        raise YardError(
            Reason.DISK_FULL,
            f"the disk of this machine has no room for the {needed} bytes of {version.name}: free some",
            {"path": "dataset cache"},
        )


def _remove_interrupted(root: Path) -> None:
    """Removes what killed or cancelled jobs had begun to build; one that is being built holds its lock."""
    for building in root.glob(f"{_BUILDING}*"):
        with _lock_path(root / building.name.removeprefix(_BUILDING)).open("a+") as lock:
            if _try_lock(lock):
                shutil.rmtree(building, ignore_errors=True)


def _size(marker: Path) -> int:
    try:
        return int(marker.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _last_used(folder: Path) -> float:
    try:
        return _lock_path(folder).stat().st_mtime
    except OSError:
        return 0.0


def _free_bytes(root: Path) -> int:
    return shutil.disk_usage(root).free


def _try_lock(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unused(folder: Path) -> bool:
    """Removes a folder that nobody uses; says whether it did."""
    with _lock_path(folder).open("a+") as lock:
        if not _try_lock(lock):
            return False
        with suppress(FileNotFoundError):
            (folder / _SIZE_FILE).unlink()  # first, so that a removal cut short is not taken for a whole folder
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(_building(folder), ignore_errors=True)
    return True
