"""An import job in its worker process: its attempts, from the upload to the published version, and what each of them leaves or clears up."""

from __future__ import annotations

import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from visionyard.dataset import pins
from visionyard.dataset.converting.datumaro import Datumaro
from visionyard.dataset.fetching.port import Sources
from visionyard.dataset.import_attempt import Attempt, Given, ImportLimits
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.publishing import Publisher
from visionyard.kit.artifacts import versions
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.lease import LeaseLost, Preempted
from visionyard.kit.objectstore.port import StoreFull, StoreUnavailable
from visionyard.kit.transfer.uploads import UploadStore

_log = logging.getLogger(__name__)
_TIMES_OVERTAKEN = 8
"""So often images that are to be added to a dataset's newest version are added anew, because it got another one meanwhile."""


def run_import(
    context: JobContext, uploads: UploadStore, limits: ImportLimits, sources: Sources | None = None, datumaro: Datumaro | None = None
) -> dict[str, Any]:
    """Runs one attempt, under a pin (:mod:`.pins`) that stays where another attempt will go on.

    The uploads are deleted when the job has ended one way or the other, not where another attempt will need them.

    Args:
        context: The job.
        uploads: Where its archives lie.
        limits: What they may ask of this machine.
        sources: Fetches what is not uploaded; None where nothing may be fetched.
        datumaro: Reads the formats that only it knows; None where it was not set up.

    Returns:
        The pointers of the job's result: ``report_key`` and, unless it was a dry run, ``version``.

    Raises:
        YardError: the source is refused; see :meth:`Importer.read`, :func:`open_archive` and :func:`derive`. DATASET_CHANGED, others kept publishing.
        JobCancelled: it was cancelled.
        Preempted: the worker was told to go.
        LeaseLost: another worker has the job.
        StoreUnavailable: the store stayed away.
    """
    spec = ImportSpec.from_json(context.job.spec)
    for _ in range(_TIMES_OVERTAKEN):
        publisher = _publisher(context, spec)
        try:
            return _run_once(context, publisher, spec, Given(uploads, limits, sources, datumaro))
        except versions.Overtaken:
            _log.info("the dataset got another version meanwhile: the images are added to that one instead")
            context.point(prepared=None)  # raises where the job is no longer this attempt's
    error = YardError(
        Reason.DATASET_CHANGED,
        f"{spec.dataset} got other versions {_TIMES_OVERTAKEN} times while these images were added to its newest one: try again when nothing else adds to it",
        {"name": str(spec.dataset)},
    )
    context.point(failure=error.to_json())
    _clear_up(context, _publisher(context, spec), uploads, spec)
    raise error


def _publisher(context: JobContext, spec: ImportSpec) -> Publisher:
    job = context.job
    return Publisher(context.store, spec.dataset, job.name, job.attempt, job.create_time, job.pointers, context.point, context.announce)


def _run_once(context: JobContext, publisher: Publisher, spec: ImportSpec, given: Given) -> dict[str, Any]:
    """Raises Overtaken besides, where all is to be made anew."""
    uploads, pointers = given.uploads, context.job.pointers
    if "failure" in pointers:  # an attempt that was killed before it could say so
        _clear_up(context, publisher, uploads, spec)
        raise YardError.from_json(pointers["failure"])
    if "unchanged" in pointers:  # likewise; its upload may be gone
        _done(context, uploads, spec)
        return dict(pointers["unchanged"])
    prepared = pointers.get("prepared")
    if prepared is None:
        pins.pin(context.store, context.job.name)  # before the index is read
        publisher.begin()
        try:
            with tempfile.TemporaryDirectory(dir=context.scratch, ignore_cleanup_errors=True) as scratch:
                done = Attempt(context, publisher, spec, given, Path(scratch)).prepare()
        except (LeaseLost, Preempted):
            raise  # the next attempt deletes what this one wrote
        except StoreUnavailable as error:
            if isinstance(error, StoreFull):
                with suppress(StoreUnavailable):
                    _clear_up(context, publisher, uploads, spec)
            raise
        except BaseException:
            with suppress(StoreUnavailable):  # a store that is full takes no word, but gives room
                context.announce()  # raises where another attempt has the job: it needs the upload and the pin
            _clear_up(context, publisher, uploads, spec)
            raise
        if done:
            context.point(unchanged=done)  # first, since a next attempt could not find it out again without the upload
            _done(context, uploads, spec)
            return done
        prepared = context.job.pointers["prepared"]
    context.report("publishing")
    context.announce()  # moves nothing, but raises where the job is no longer this attempt's: what was prepared may be deleted then
    result = publisher.publish(prepared)
    _done(context, uploads, spec)
    return result


def _done(context: JobContext, uploads: UploadStore, spec: ImportSpec) -> None:
    for upload in spec.uploads:
        uploads.delete(upload)
    pins.unpin(context.store, context.job.name)


def _clear_up(context: JobContext, publisher: Publisher, uploads: UploadStore, spec: ImportSpec) -> None:
    publisher.abandon()
    _done(context, uploads, spec)
