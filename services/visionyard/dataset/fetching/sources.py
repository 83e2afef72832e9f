"""Puts fetching together: from an address in a job to an archive that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionyard.dataset.archives.entry import Archive, ArchiveLimits
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.fetching.addresses import AllowList, SourceUrl, not_allowed
from visionyard.dataset.fetching.download import Download
from visionyard.dataset.fetching.folder import ObjectFolder
from visionyard.dataset.fetching.http import HttpFile
from visionyard.dataset.fetching.patience import FetchLimits, Patience
from visionyard.dataset.fetching.port import Check, Fetched, Progress, Remote, SourceBroken
from visionyard.dataset.fetching.s3 import S3Access, S3Source

_FILE = "fetched"


class AllowedSources:
    """The sources that the settings allow; see :class:`visionyard.dataset.fetching.port.Sources`.

    Args:
        allow: The list.
        access: Where ``s3://`` sources lie; None where there are none.
        limits: What a source may ask of this machine.
    """

    def __init__(self, allow: AllowList, access: S3Access | None, limits: FetchLimits) -> None:
        self._allow = allow
        self._access = access
        self._limits = limits

    @contextmanager
    def open(self, url: str, scratch: Path, limits: ArchiveLimits, check: Check, progress: Progress) -> Iterator[tuple[Archive, Fetched]]:
        """See the port. The list is asked again: it may have changed since the job was made."""
        source = self._allow.allowed(url)
        if source.scheme == "s3":
            if self._access is None:
                raise not_allowed(source, f"{source.shown} cannot be fetched: this service has no setting VISIONYARD_IMPORT_S3_ENDPOINT")
            bucket = S3Source(source, self._access)
            if not self._is_object(source, bucket, check):
                folder = ObjectFolder(source, bucket, limits, self._limits, check, progress)
                yield folder, folder.fetched
                return
            remote: Remote = bucket
        else:
            remote = HttpFile(source, self._allow, check)
        path = scratch / _FILE
        with path.open("x+b") as file:
            path.unlink()  # it goes with whoever has it open, however that ends
            fetched = Download(source, remote, file, scratch, self._limits, check, progress).run()
            yield open_archive(file, fetched.size_bytes, source.file_name, limits), fetched

    def _is_object(self, source: SourceUrl, bucket: S3Source, check: Check) -> bool:
        patience = Patience(source, self._limits, check)
        while True:
            try:
                return bucket.is_object()
            except SourceBroken as error:
                patience.failed(error, 0)
