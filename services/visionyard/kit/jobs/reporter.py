"""Writes how far a worker is, at most twice a second, from a thread of its own: reporting costs the work next to nothing."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading

from visionyard.kit.jobs.model import Job, ProgressSnapshot, progress_key
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable

_log = logging.getLogger(__name__)


class Reporter:
    """The one writer of an attempt's progress object.

    Args:
        store: The bucket.
        job: The job, claimed for this attempt.
        interval_s: The shortest time between two writes, in seconds.
    """

    def __init__(self, store: ObjectStore, job: Job, interval_s: float = 0.5) -> None:
        self._store = store
        self._key = progress_key(job.name, job.attempt)
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._latest = ProgressSnapshot()
        self._written = 0
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write_changes, name="reporter", daemon=True)

    def continue_from(self, sequence: int) -> None:
        """Counts on from what another process of the attempt's group has written; that one writes no more."""
        with self._lock:
            newest = max(sequence, self._latest.sequence)
            self._latest = dataclasses.replace(self._latest, sequence=newest)
            self._written = newest

    def start(self) -> None:
        """Begins to write in the background."""
        self._thread.start()

    def report(self, snapshot: ProgressSnapshot) -> None:
        """Takes the newest state; an earlier one that was not written yet is forgotten. The snapshot's sequence is set here."""
        with self._lock:
            self._latest = dataclasses.replace(snapshot, sequence=self._latest.sequence + 1)
        self._changed.set()

    def flush(self) -> None:
        """Writes the newest state now.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._lock:
            latest = self._latest
            if latest.sequence == self._written:
                return
        self._store.put(self._key, json.dumps(dataclasses.asdict(latest)).encode())
        self._written = latest.sequence

    def close(self) -> None:
        """Writes the last state and ends; trouble with the store is only logged."""
        self._closed.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)
        self._try_flush()

    def _try_flush(self) -> None:
        try:
            self.flush()
        except StoreUnavailable as error:
            _log.warning("progress could not be written: %s", error)

    def _write_changes(self) -> None:
        while not self._closed.is_set():
            self._changed.wait()
            self._changed.clear()
            self._try_flush()
            self._closed.wait(self._interval_s)
