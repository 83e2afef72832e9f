"""Complete uploads as local files."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionyard.kit.names import ResourceName
from visionyard.kit.transfer.uploads import UploadStore

_READ_BYTES = 1 << 20


class PushedFiles:
    """Fetches uploads into a private folder.

    Args:
        uploads: The uploads of all projects.
        work_dir: Where private folders are made; made where it is missing.
    """

    def __init__(self, uploads: UploadStore, work_dir: Path) -> None:
        self._uploads = uploads
        self._folder = work_dir / "pushed"

    @contextmanager
    def as_file(self, name: ResourceName) -> Iterator[tuple[Path, str]]:
        """A complete upload as a local file with its sha256, removed when the block ends.

        Raises:
            YardError: UPLOAD_NOT_FOUND or UPLOAD_INCOMPLETE.
            StoreUnavailable: the store does not answer.
            OSError: the disk refused it.
        """
        with self._uploads.open(name) as source:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                path, digest = Path(folder, "weights.pt"), hashlib.sha256()
                with path.open("wb") as target:
                    while data := source.read(_READ_BYTES):
                        digest.update(data)
                        target.write(data)
                yield path, digest.hexdigest()

    def delete(self, name: ResourceName) -> None:
        """Throws an upload away."""
        self._uploads.delete(name)
