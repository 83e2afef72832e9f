"""Clears up after imports whose worker could not: those that died over a cancellation, or died once too often. And after uploads that nothing came of."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from visionyard.dataset import pins
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.metrics import Metrics
from visionyard.kit.artifacts import versions
from visionyard.kit.errors import YardError
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.kit.projects import project_ids
from visionyard.kit.transfer.uploads import UploadStore

_log = logging.getLogger(__name__)
_LOOK_S = 5.0
_SWEEP_S = 3600.0
_REMEMBERED_JOBS = 100


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
        self._looked_back = False
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
        if not self._looked_back:
            self._unfinished |= self._ended_unseen()
            self._looked_back = True
        for name in sorted(self._unfinished - now, key=str):
            if self._clear_up(name):
                self._unfinished.discard(name)
        self._unfinished |= now
        if time.monotonic() - self._swept > _SWEEP_S:
            self._uploads.sweep(self._keep)
            self._swept = time.monotonic()

    def _ended_unseen(self) -> set[ResourceName]:
        """The jobs that may have ended while no service looked, and that list what they wrote; each project's newest, as older ones had their turn."""
        found: set[ResourceName] = set()
        for project in project_ids(self._records.store):
            newest, _ = self._records.list(project, limit=_REMEMBERED_JOBS)
            found |= {job.name for job in newest if job.state in pins.WITHOUT_RESULT and job.pointers.get("written")}
        return found

    def _clear_up(self, name: ResourceName) -> bool:
        """Deletes what a job that has ended without a result may have left; False where that is to be tried again later.

        What its own worker deleted already is no error. A finished job's worker can move no pointer any more, so without ``prepared`` nothing it wrote
        will ever be referred to. With it, a worker that was taken over may be publishing at this very moment, and what a version refers to must stay:
        so first all workers have to be silent. One that lives beats, hears at its next beat that the job is no longer its own, and ends within seconds; one
        that was frozen asks whether the job is still its own before it publishes (:func:`run_import`), which it no longer is. (One frozen just between that
        question and the write, for longer than the silence, would publish a version whose reading says ARTIFACT_CORRUPT.)
        """
        job = self._records.get(name)
        if job.state not in pins.WITHOUT_RESULT:
            return True
        left = set(job.pointers.get("written", []))
        if prepared := job.pointers.get("prepared"):
            if not pins.is_silent(self._records, job):
                return False
            dataset = ImportSpec.from_json(job.spec).dataset
            made = versions.find(self._records.store, dataset, str(name), job.create_time)
            # A version that was published and deleted since may have been referred to by others: what it held is a collection's business.
            if made is not None or versions.any_deleted_since(self._records.store, dataset, job.create_time):
                left -= {*prepared["shards"], prepared["body"]["manifest_key"], prepared["body"]["report_key"]}
        self._records.store.delete_many(sorted(left))
        for upload in ImportSpec.from_json(job.spec).uploads:
            self._uploads.delete(upload)
        pins.unpin(self._records.store, name)
        if job.pointers.get("written"):  # done; the next service that starts need not do it again
            self._records.update(name, lambda current, _: current.changed(pointers={**current.pointers, "written": []}))
        return True
