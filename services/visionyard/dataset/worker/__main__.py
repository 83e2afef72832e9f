"""The import worker: ``python -m visionyard.dataset.worker --job NAME --attempt N``, started by the service."""

from __future__ import annotations

import sys
from typing import Any

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.config import DatasetSettings
from visionyard.dataset.converting.datumaro import Datumaro
from visionyard.dataset.fetching.sources import AllowedSources
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.worker import run
from visionyard.kit.transfer.copies import LocalCopies
from visionyard.kit.transfer.uploads import UploadStore


def import_(context: JobContext) -> dict[str, Any]:
    """Does one import job; see :func:`visionyard.dataset.import_job.run_import`."""
    settings = context.settings
    if not isinstance(settings, DatasetSettings):
        raise TypeError(f"{type(settings).__name__} are not this worker's settings")
    archive = ArchiveLimits(entries=settings.archive_entries_limit, unpacked_bytes=settings.archive_unpacked_limit_bytes)
    uploads = UploadStore(context.store, settings.upload_limit_bytes, copies=LocalCopies(settings.upload_copies()))
    sources = AllowedSources(settings.allow_list(), settings.source_access(), settings.fetch_limits())
    limits = ImportLimits(archive, settings.image_limit_pixels, settings.project_quota_bytes)
    datumaro = Datumaro(settings.datumaro_python) if settings.datumaro_python else None
    return run_import(context, uploads, limits, sources, datumaro)


if __name__ == "__main__":
    sys.exit(run(JobKind.IMPORT, import_, DatasetSettings))
