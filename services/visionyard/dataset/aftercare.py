"""Clears up after imports whose worker could not: those that died over a cancellation, or died once too often. And after uploads that nothing came of."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from visionyard.dataset.import_job import ImportSpec
from visionyard.dataset.metrics import Metrics
from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.kit.transfer.uploads import UploadStore

_log = logging.getLogger(__name__)
_LOOK_S = 5.0
_SWEEP_S = 3600.0


class Aftercare:
    """Looks at the queue again and again.

    Args:
        records: The import jobs.
        uploads: Their archives.
        metrics: Gets the queue's figures.
        keep_uploads: Uploads into which nothing came for longer are deleted.
    """

    def __init__(self, records: JobRecords, uploads: UploadStore, metrics: Metrics, keep_uploads: timedelta) -> None:
        self._records = records
        self._uploads = uploads
        self._metrics = metrics
        self._keep = keep_uploads
        self._unfinished: set[ResourceName] = set()
        self._swept = float("-inf")

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except (StoreUnavailable, YardError) as error:
                _log.debug("the queue is looked at again later: %s", error)
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """One round. Blocks.

        Raises:
            StoreUnavailable: the store does not answer; the next round does what this one did not.
        """
        jobs = list(self._records.unfinished())
        self._metrics.unfinished([job.state for job in jobs])
        now = {job.name for job in jobs}
        for name in sorted(self._unfinished - now, key=str):
            self._clear_up(name)
            self._unfinished.discard(name)
        self._unfinished |= now
        if time.monotonic() - self._swept > _SWEEP_S:
            self._uploads.sweep(self._keep)
            self._swept = time.monotonic()

    def _clear_up(self, name: ResourceName) -> None:
        """Deletes what a job that made no version may have left. What its own worker deleted already is no error.

        A finished job's worker can move no pointer any more, so without ``prepared`` nothing it wrote will ever be referred to.
        """
        job = self._records.get(name)
        if job.state not in {JobState.FAILED, JobState.CANCELLED} or "prepared" in job.pointers:
            return
        self._records.store.delete_many(list(job.pointers.get("written", [])))
        self._uploads.delete(ImportSpec.from_json(job.spec).upload)
