"""The files of dataset versions that are read as they lie in the bucket."""

from __future__ import annotations

from visionyard.dataset.catalogue import Catalogue
from visionyard.kit.names import VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.kit.transfer.files import FileLocation, file_not_found

MANIFEST, REPORT = "manifest.parquet", "report.json"


class DatasetFiles:
    """Finds a version's manifest and report; its images and labels come through DownloadDatasetVersion.

    Args:
        store: The bucket.
        catalogue: The versions in it.
    """

    def __init__(self, store: ObjectStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def resolve(self, name: str, path: str) -> FileLocation:
        """See :meth:`visionyard.kit.transfer.files.FileResolver.resolve`."""
        version = self._catalogue.get_version(VersionName.parse(name, "datasets"))
        keys = {MANIFEST: version.manifest_key, REPORT: version.report_key}
        if path not in keys:
            raise file_not_found(name, path)
        try:
            return FileLocation(keys[path], self._store.head(keys[path]).size)
        except NotFound:
            raise file_not_found(name, path) from None
