"""Checkpoints in the bucket: written whole under the attempt's prefix first, pointed at second, reported third.

``job.pointers["checkpoint"]`` names them::

    {"epoch": 3, "ended": false, "files": {"weights/last.pt": {"key": ..., "size_bytes": ..., "sha256": ...}, "weights/best.pt": ..., "results.csv": ...},
     "measured": {...}}

``epoch`` counts finished epochs; ``ended`` says that the last one is done, so that only the end's work is left; ``measured`` is what :mod:`.measuring` tells. Epochs
that are kept on request stand under ``kept``; see :mod:`visionyard.training.kept_epochs`.
"""

from __future__ import annotations

import concurrent.futures
import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionyard.kit.artifacts.model import sha256_of
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.training.kept_epochs import KEPT_WEIGHTS, entries

_log = logging.getLogger(__name__)
LAST, BEST, RESULTS, ARGUMENTS = "weights/last.pt", "weights/best.pt", "results.csv", "args.yaml"
"""Where Ultralytics writes them in its ``save_dir``."""
_POLL_S = 0.2
_FOLDER = "checkpoints"


def store_file(store: ObjectStore, path: Path, key: str) -> dict[str, Any]:
    """Writes a file to the bucket; returns the entry that pointers keep: ``key``, ``size_bytes``, ``sha256``."""
    entry = {"key": key, "size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
    store.put_file(key, path)
    return entry


def restore(store: ObjectStore, checkpoint: dict[str, Any], save_dir: Path) -> None:
    """Puts a checkpoint's files back to where Ultralytics goes on from them.

    Raises:
        YardError: ARTIFACT_CORRUPT, a file is gone or does not fit its sha256.
    """
    for path, entry in checkpoint["files"].items():
        if path not in {LAST, BEST, RESULTS, ARGUMENTS}:
            continue
        target = save_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.get_file(entry["key"], target)
        except NotFound:
            raise _corrupt(path, "is missing in the bucket") from None
        if sha256_of(target) != entry["sha256"]:
            raise _corrupt(path, "does not fit its recorded sha256")


def sweep(context: JobContext, keep: Iterable[dict[str, Any]]) -> None:
    """Deletes the job's checkpoints that nothing points at: a worker that was killed may have left some.

    Those of later attempts stay: this one may have been stopped, superseded, and woken here.

    Args:
        context: The job, held by this attempt: an older one that should still write moves no pointer any more.
        keep: The entries of the files that are pointed at.
    """
    kept, prefix = {entry["key"] for entry in keep}, f"{context.job.name}/attempts/"
    keys = [entry.key for entry in context.store.list(prefix) if f"/{_FOLDER}/" in entry.key]
    ours = [key for key in keys if int(key.removeprefix(prefix).partition("/")[0]) <= context.job.attempt]
    context.store.delete_many([key for key in ours if key not in kept])


def _corrupt(path: str, what: str) -> YardError:
    return YardError(Reason.ARTIFACT_CORRUPT, f"the checkpoint's {path} {what}: start the training again", {"name": path})


@dataclass(frozen=True)
class Saved:
    """What Ultralytics has just saved.

    Attributes:
        epoch: How many epochs are finished.
        ended: Whether training ends with this epoch.
        is_best: Whether ``best.pt`` is the same as ``last.pt``.
        kept_as: The path under which Ultralytics keeps this epoch besides (``save_period``); empty for none.
        folder: Copies of ``last.pt`` and ``results.csv``, not written to any more; removed when they are stored.
        measured: What was measured until then; see :mod:`.measuring`.
        events: The path of the event file for TensorBoard, a copy of which lies in ``folder`` too; empty for none.
        pointers: What else the job is to point at from this epoch on.
    """

    epoch: int
    ended: bool
    is_best: bool
    kept_as: str
    folder: Path
    measured: dict[str, Any] = field(default_factory=dict)
    events: str = ""
    pointers: dict[str, Any] = field(default_factory=dict)


class CheckpointStore:
    """Stores checkpoints from a thread of its own, at most one epoch behind the training.

    Args:
        context: The job.
        on_stored: Called with the number of finished epochs, from that thread, once they are in the bucket and pointed at.
    """

    def __init__(self, context: JobContext, on_stored: Callable[[int], None]) -> None:
        self._context = context
        self._on_stored = on_stored
        checkpoint = context.job.pointers.get("checkpoint") or {}
        self._files: dict[str, Any] = dict(checkpoint.get("files") or {})
        self._kept: dict[str, dict[str, Any]] = dict(checkpoint.get("kept") or {})
        self._superseded: list[str] = []
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._pending: concurrent.futures.Future[None] | None = None

    def save(self, saved: Saved) -> None:
        """Stores a checkpoint in the background, after the one before is stored.

        Raises:
            YardError, LeaseLost, StoreUnavailable: storing the one before failed.
            JobCancelled, Preempted, LeaseLost: the job must stop.
        """
        self.wait()
        self._pending = self._executor.submit(self._store, saved)

    def wait(self) -> None:
        """Waits until everything is stored, as long as the job need not stop.

        Raises:
            YardError, LeaseLost, StoreUnavailable: storing failed.
            JobCancelled, Preempted, LeaseLost: the job must stop.
        """
        while self._pending is not None:
            finished, _ = concurrent.futures.wait([self._pending], timeout=_POLL_S)
            if finished:
                pending, self._pending = self._pending, None
                pending.result()
            else:
                self._context.check()

    def close(self, patience_s: float) -> None:
        """Gives an epoch that is being stored a moment more; trouble is only logged."""
        if self._pending is not None:
            try:
                self._pending.result(timeout=patience_s)
            except Exception as error:  # noqa: BLE001 - the job ends for another reason already
                _log.warning("the last checkpoint was not stored: %s", type(error).__name__)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _store(self, saved: Saved) -> None:
        store, prefix = self._context.store, f"{self._context.attempt_prefix}{_FOLDER}/{saved.epoch:06d}/"
        last = store_file(store, saved.folder / Path(LAST).name, f"{prefix}last.pt")
        results = store_file(store, saved.folder / RESULTS, f"{prefix}{RESULTS}")
        files = {**self._files, LAST: last, RESULTS: results}
        if saved.is_best or BEST not in files:
            files[BEST] = last
        arguments = saved.folder / ARGUMENTS
        if arguments.exists():
            files[ARGUMENTS] = store_file(store, arguments, f"{prefix}{ARGUMENTS}")
        if saved.events:
            name = Path(saved.events).name
            files[saved.events] = store_file(store, saved.folder / name, f"{prefix}{name}")
        if saved.kept_as:
            self._kept[str(saved.epoch)] = {path: entry for path, entry in files.items() if not path.startswith(KEPT_WEIGHTS)}
            files[saved.kept_as] = last
        checkpoint = {
            "epoch": saved.epoch,
            "ended": saved.ended,
            "files": files,
            "measured": saved.measured,
            **({"kept": self._kept} if self._kept else {}),
        }
        self._context.point(checkpoint=checkpoint, **saved.pointers)
        self._on_stored(saved.epoch)
        superseded = {entry["key"] for entry in self._files.values()} - {entry["key"] for entry in entries(checkpoint)}
        self._files = files
        # What a resumed training had made before is no checkpoint: a version of its model holds it.
        superseded = {key for key in superseded if f"/{_FOLDER}/" in key}
        # Somebody may be reading what was replaced just now: it goes with the next epoch, or with the sweep at the end.
        store.delete_many(self._superseded)
        self._superseded = sorted(superseded)
        shutil.rmtree(saved.folder, ignore_errors=True)
